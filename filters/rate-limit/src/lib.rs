//! Limits how often requests of one key pass: a token bucket per key, shared by all workers.
//!
//! A key is any combination of client address, host, route, peer, headers and variables. It does not queue or slow
//! down: what is over the limit is answered with 429. `README.md` beside this crate describes every key of the
//! configuration.
//!
//! ```toml
//! [filters.limit]
//! module = "builtin:rate-limit"
//! config = { limit = 100, per = "1m", burst = 20, key = ["client"] }
//! ```
//!
//! Without headers on passed responses it costs one call into the guest.
//!
//! **Invariant:** in no window of time, and on however many workers, does a key pass more than `burst` requests and what
//! was refilled meanwhile; a full state with `on_state_full = "allow"` and `dry_run` are the exceptions.

mod bucket;
mod config;
mod decision;
mod headers;
mod key;
#[cfg(test)]
mod tests;

use meshup_sdk::prelude::*;

pub use crate::config::Config;
use crate::decision::Decision;

/// The variable with `deny` or `dry-run-deny`, where a request was over the limit.
pub const DECISION_VARIABLE: &str = "rate_limit.decision";

#[meshup_sdk::filter]
async fn rate_limit(config: &Config, req: Request, next: Next) -> Response {
    let taken = config.take(&req);
    let decision = config.decide(taken.as_ref().ok());
    config.decisions.count(decision);
    leave_variable(decision);
    match (decision, taken) {
        (Decision::Deny, taken) => config.headers.refusal(taken.ok()),
        (_, Ok(taken)) if config.headers.on_passed => {
            let mut res = next.pass(req);
            config.headers.tell(&mut res, taken);
            res
        }
        _ => next.pass(req),
    }
}

/// For the access log and later filters. Without room for it the decision stands all the same.
fn leave_variable(decision: Decision) {
    if decision == Decision::Allow {
        return;
    }
    if let Err(error) = exchange::set_variable(DECISION_VARIABLE, decision.label()) {
        warn!("no variable {DECISION_VARIABLE}: {error}");
    }
}
