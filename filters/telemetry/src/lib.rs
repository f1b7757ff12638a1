//! Counts and logs exchanges, and continues traces. It changes no decision and refuses nothing.
//!
//! ```toml
//! [filters.telemetry]
//! module = "builtin:telemetry"
//! config = { sample = 0.1, access_log = { format = "json", fields = ["time", "method", "path", "status", "duration"] } }
//! ```
//!
//! | key | type | default | meaning |
//! |---|---|---|---|
//! | `metrics` | bool | `true` | whether exchanges are counted and measured |
//! | `trace_context` | bool | `true` | whether `traceparent` is continued or created |
//! | `sample` | number | `1.0` | the share of new traces with the sampled flag, 0 to 1; a continued one keeps its flag |
//! | `request_id` | bool | `true` | whether the upstream gets `x-request-id`, made where the client sends no valid one |
//! | `response_header` | bool | `false` | whether the client gets `x-request-id` too; costs a second call of the filter |
//! | `access_log` | table | none | `{ format, fields }`: one line for each exchange when it is over |
//! | `access_log.format` | text | `"json"` | `json`, `common` or `combined` |
//! | `access_log.fields` | list | sixteen, see the README | the fields of the format `json`, in that order |
//!
//! **Invariant:** each exchange is counted once, however it ends.

mod access_log;
mod config;
mod field;
mod line;
mod method;
mod metrics;
mod time;
mod trace_context;

use meshup_sdk::prelude::*;

pub use crate::config::Config;
use crate::{access_log::Entry, metrics::Observation, trace_context::TraceContext};

const REQUEST_ID: &str = "x-request-id";

#[meshup_sdk::filter]
async fn telemetry(config: &Config, mut req: Request, next: Next) -> Response {
    // Before any change: the log tells what the client sent.
    let observed = Observed::begin(config, &req);
    let trace = config.sampler.as_ref().map(|sampler| trace_context::carry_on(&mut req, sampler));
    if config.request_id {
        exchange::with_attribute(Attribute::RequestId, |id| set_request_id(&mut req, id));
    }
    req.on_end(move |summary| observed.end(trace, summary));
    if !config.response_header {
        return next.pass(req);
    }
    let mut res = next.run(&req).await;
    if let Some(id) = exchange::request_id() {
        res.headers_mut().set(REQUEST_ID, id);
    }
    res
}

/// What is remembered of an exchange until its end.
struct Observed {
    metrics: Option<Observation>,
    entry: Option<Entry>,
}

impl Observed {
    fn begin(config: &'static Config, req: &Request) -> Self {
        Self {
            metrics: config.metrics.as_ref().map(|metrics| metrics.begin(req.method())),
            entry: config.access_log.as_ref().map(|log| log.begin(req)),
        }
    }

    fn end(self, trace: Option<TraceContext>, summary: &Summary) {
        if let Some(observation) = self.metrics {
            observation.end(summary);
        }
        if let Some(entry) = self.entry {
            info!("{}", entry.line(trace, summary));
        }
    }
}

/// Gives the upstream the exchange's request id: the client's where the host finds it valid, otherwise the host's own.
fn set_request_id(req: &mut Request, id: &str) {
    let alone = req.headers().get_all(REQUEST_ID).eq([id.as_bytes()]);
    if !alone {
        req.headers_mut().set(REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests;
