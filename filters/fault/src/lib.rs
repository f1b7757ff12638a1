//! Delays and aborts a share of the requests, to see what the rest of a system makes of that.
//!
//! What is delayed goes on afterwards; what is aborted never reaches the upstream. It does not cut responses or
//! connections off, and a client decides nothing but by the headers that the configuration asks for.
//!
//! ```toml
//! [filters.fault]
//! module = "builtin:fault"
//! config = { delay = { duration = "200ms", percent = 1.5 }, abort = { status = 503, percent = 0.1 } }
//! ```
//!
//! `README.md` beside this crate describes every key.
//!
//! **Invariant:** a request that gets no fault costs one call into the filter.

mod abort;
mod delay;
mod share;
#[cfg(test)]
mod tests;

use meshup_sdk::prelude::*;

use crate::{abort::Abort, delay::Delay};

static INJECTED: Counter<1> = Counter::new("fault_injected_total", ["fault"]);

/// The variable that tells later filters and the access log which fault it was: `delay`, `abort` or `delay+abort`.
pub const VARIABLE: &str = "fault.injected";

/// The filter's configuration; `README.md` lists the keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    delay: Option<Delay>,
    abort: Option<Abort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    delay: Option<Delay>,
    abort: Option<Abort>,
}

impl TryFrom<RawConfig> for Config {
    type Error = &'static str;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        match raw {
            RawConfig { delay: None, abort: None } => Err("no fault: give `delay` or `abort`"),
            RawConfig { delay, abort } => Ok(Self { delay, abort }),
        }
    }
}

#[meshup_sdk::filter]
async fn fault(config: &Config, req: Request, next: Next) -> Response {
    let delay = config.delay.as_ref().filter(|delay| delay.share.includes(&req));
    let abort = config.abort.as_ref().filter(|abort| abort.share.includes(&req));
    name_fault(delay.is_some(), abort.is_some());
    if let Some(delay) = delay {
        INJECTED.with(["delay"]).add(1);
        sleep(delay.length()).await;
    }
    let Some(abort) = abort else { return next.pass(req) };
    INJECTED.with(["abort"]).add(1);
    abort.response(&req)
}

fn name_fault(delayed: bool, aborted: bool) {
    let name = match (delayed, aborted) {
        (true, true) => "delay+abort",
        (true, false) => "delay",
        (false, true) => "abort",
        (false, false) => return,
    };
    if let Err(error) = exchange::set_variable(VARIABLE, name) {
        warn!("no variable {VARIABLE}: {error}");
    }
}
