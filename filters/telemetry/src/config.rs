//! The configuration, checked, with everything computed that no request changes.
//!
//! **Invariant:** what is switched off costs nothing per request.

use meshup_sdk::prelude::*;

use crate::{
    access_log::{AccessLog, Format},
    field::Field,
    metrics::Metrics,
    trace_context::Sampler,
};

/// The filter's configuration; the crate's documentation lists the keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) metrics: Option<Metrics>,
    pub(crate) sampler: Option<Sampler>,
    pub(crate) request_id: bool,
    pub(crate) response_header: bool,
    pub(crate) access_log: Option<AccessLog>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    metrics: bool,
    trace_context: bool,
    sample: f64,
    request_id: bool,
    response_header: bool,
    access_log: Option<RawAccessLog>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccessLog {
    #[serde(default)]
    format: Format,
    fields: Option<Vec<Field>>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            metrics: true,
            trace_context: true,
            sample: 1.0,
            request_id: true,
            response_header: false,
            access_log: None,
        }
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        let sampler = Sampler::new(raw.sample).ok_or("sample: not within 0 and 1")?;
        if raw.response_header && !raw.request_id {
            return Err("response_header: there is no request id to tell with `request_id = false`".to_owned());
        }
        let access_log = raw.access_log.map(|log| AccessLog::new(log.format, log.fields));
        Ok(Self {
            metrics: raw.metrics.then(Metrics::default),
            sampler: raw.trace_context.then_some(sampler),
            request_id: raw.request_id,
            response_header: raw.response_header,
            access_log: access_log.transpose().map_err(|error| format!("access_log.{error}"))?,
        })
    }
}
