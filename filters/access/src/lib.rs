//! Allows and denies requests by ordered rules over method, path, headers, client address, variables and peer identity.
//!
//! The first rule that holds decides; without one, `default` does. It finds out nobody's identity itself: that is for the
//! filters before it and for TLS. `README.md` beside this crate describes every key.
//!
//! ```toml
//! [filters.access]
//! module = "builtin:access"
//! config = { rules = [{ action = "allow", methods = ["GET"], path_prefix = "/orders", variables = { "jwt.sub" = true } }] }
//! ```
//!
//! **Invariant:** a request passes only when a rule or `default` allows it, or with `dry_run`.

mod config;
mod decision;
mod facts;
mod network;
mod one_or_more;
mod path;
mod peer;
mod rule;
#[cfg(test)]
mod tests;
mod value;

use meshup_sdk::prelude::*;

pub use crate::config::Config;
use crate::decision::Decision;

/// The variable with the name of the rule that decided.
pub const RULE_VARIABLE: &str = "access.rule";
/// The variable with what was decided: `allow`, `deny` or `dry-run-deny`.
pub const DECISION_VARIABLE: &str = "access.decision";

#[meshup_sdk::filter]
async fn access(config: &Config, req: Request, next: Next) -> Response {
    let decision = config.decide(&req);
    decision.count();
    leave_variables(decision);
    if decision.passes() { next.pass(req) } else { refusal() }
}

/// For the access log and later filters. Without room for them the decision stands all the same.
fn leave_variables(decision: &Decision) {
    let left = exchange::set_variable(RULE_VARIABLE, decision.rule())
        .and_then(|()| exchange::set_variable(DECISION_VARIABLE, decision.label()));
    if let Err(error) = left {
        warn!("no variables {RULE_VARIABLE} and {DECISION_VARIABLE}: {error}");
    }
}

/// The same whatever the reason: a client has no business with the rules.
fn refusal() -> Response {
    const BODY: &str = "{\"error\":\"forbidden\",\"message\":\"access denied\"}\n";
    Response::new(403).with_header("content-type", "application/json").with_body(BODY)
}
