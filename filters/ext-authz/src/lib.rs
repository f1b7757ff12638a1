//! Asks an HTTP service about each request: what it allows passes, what it denies gets its answer.
//!
//! It speaks what Envoy's `ext_authz` over HTTP, nginx's `auth_request` and Traefik's ForwardAuth speak, so that services
//! made for those fit. The request's body is not shown to the service, and no decision is remembered.
//!
//! ```toml
//! [filters.authz]
//! module = "builtin:ext-authz"
//! config = { upstream = "authz", path = "/check", to_upstream = ["x-user"] }
//! ```
//!
//! `README.md` beside this crate describes every key.
//!
//! **Invariant:** a request passes only when the service answered it with 2xx, or when it could not be asked and
//! `on_failure` is `allow`; headers of `to_upstream` are the service's and never the client's.

mod check;
mod config;
mod decision;
#[cfg(test)]
mod tests;

use meshup_sdk::prelude::*;

pub use crate::config::Config;
use crate::decision::Decision;

static DECISIONS: Counter<1> = Counter::new("ext_authz_decisions_total", ["decision"]);
static FAILURES: Counter<1> = Counter::new("ext_authz_failures_total", ["reason"]);
static DURATION: Histogram = Histogram::new("ext_authz_duration_seconds", []);

#[meshup_sdk::filter]
async fn ext_authz(config: &Config, req: Request, next: Next) -> Response {
    let Some(check) = config.check.request(&req) else {
        return (414, "the path is too long for the authorization service").into_response();
    };
    let began = clock::monotonic();
    let answer = fetch(&config.upstream, check).timeout(config.timeout).limit(config.body_limit).await;
    DURATION.with([]).record_duration(clock::monotonic().saturating_sub(began));
    let decision = Decision::of(answer, config.on_failure);
    DECISIONS.with([decision.label()]).add(1);
    match decision {
        Decision::Allowed(answer) => pass(config, req, next, Some(answer)).await,
        Decision::Denied(answer) => config.denial(answer).await,
        Decision::FailedOpen(failure) => {
            failure.report();
            pass(config, req, next, None).await
        }
        Decision::FailedClosed(failure) => {
            failure.report();
            config.unavailable()
        }
    }
}

/// Passes the request on, with what the service said about it.
async fn pass(config: &Config, mut req: Request, next: Next, answer: Option<Response>) -> Response {
    let said = answer.as_ref().map(Response::headers);
    config.to_upstream.replace(&mut req.headers_mut(), said);
    let has_more = said.is_some_and(|said| config.to_client.any_in(said));
    if !has_more {
        return next.pass(req);
    }
    let mut res = next.run(&req).await;
    config.to_client.add(&mut res.headers_mut(), said);
    res
}
