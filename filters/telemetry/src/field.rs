//! What an access log can tell of an exchange.
//!
//! **Invariant:** what the request tells is taken before anything changes it; everything else is asked at the end.

use std::{fmt, time::Duration};

use meshup_sdk::prelude::*;

use crate::{time::Utc, trace_context::TraceContext};

/// A field of the access log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Field {
    Time,
    Client,
    Method,
    Authority,
    Path,
    Query,
    Protocol,
    Status,
    Duration,
    UpstreamDuration,
    RequestBytes,
    ResponseBytes,
    Route,
    Upstream,
    Endpoint,
    RequestId,
    TraceId,
    UserAgent,
    Referer,
    Outcome,
    GrpcStatus,
    /// A variable that a filter left.
    Variable(String),
}

const PLAIN: [(&str, Field); 21] = [
    ("time", Field::Time),
    ("client", Field::Client),
    ("method", Field::Method),
    ("authority", Field::Authority),
    ("path", Field::Path),
    ("query", Field::Query),
    ("protocol", Field::Protocol),
    ("status", Field::Status),
    ("duration", Field::Duration),
    ("upstream_duration", Field::UpstreamDuration),
    ("request_bytes", Field::RequestBytes),
    ("response_bytes", Field::ResponseBytes),
    ("route", Field::Route),
    ("upstream", Field::Upstream),
    ("endpoint", Field::Endpoint),
    ("request_id", Field::RequestId),
    ("trace_id", Field::TraceId),
    ("user_agent", Field::UserAgent),
    ("referer", Field::Referer),
    ("outcome", Field::Outcome),
    ("grpc_status", Field::GrpcStatus),
];

/// The fields of a log that names none.
pub(crate) const DEFAULT: [Field; 16] = [
    Field::Time,
    Field::Client,
    Field::Method,
    Field::Authority,
    Field::Path,
    Field::Protocol,
    Field::Status,
    Field::Duration,
    Field::RequestBytes,
    Field::ResponseBytes,
    Field::Route,
    Field::Upstream,
    Field::Endpoint,
    Field::RequestId,
    Field::TraceId,
    Field::Outcome,
];

impl TryFrom<String> for Field {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if let Some(variable) = name.strip_prefix("variable.").filter(|variable| !variable.is_empty()) {
            return Ok(Self::Variable(variable.to_owned()));
        }
        let known = PLAIN.iter().find(|(plain, _)| *plain == name).map(|(_, field)| field.clone());
        known.ok_or_else(|| {
            let names: Vec<_> = PLAIN.iter().map(|(name, _)| *name).collect();
            format!("unknown field {name:?}, expected one of {} or variable.NAME", names.join(", "))
        })
    }
}

/// The name as in the configuration.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "variable.{name}"),
            plain => f.write_str(PLAIN.iter().find(|(_, field)| field == plain).map_or("", |(name, _)| name)),
        }
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Absent,
    Number(u64),
    Duration(Duration),
    Text(String),
}

impl Value {
    fn text(text: Option<String>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }

    /// Bytes that are not UTF-8 become U+FFFD.
    fn bytes(bytes: Option<&[u8]>) -> Self {
        Self::text(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl Field {
    /// What the request tells; `None` for everything that is known at the end only.
    pub(crate) fn of_request(&self, req: &Request) -> Option<Value> {
        Some(match self {
            Self::Method => Value::Text(req.method().to_owned()),
            Self::Authority => Value::Text(req.authority().to_owned()),
            Self::Path => Value::Text(req.path().to_owned()),
            Self::Query => Value::text(req.query().map(str::to_owned)),
            Self::UserAgent => Value::bytes(req.headers().get_bytes("user-agent")),
            Self::Referer => Value::bytes(req.headers().get_bytes("referer")),
            _ => return None,
        })
    }

    /// What is known at the end.
    pub(crate) fn at_end(&self, trace: Option<TraceContext>, summary: &Summary) -> Value {
        match self {
            Self::Time => Value::Text(started().rfc3339().to_string()),
            Self::Client => Value::text(exchange::client_address()),
            Self::Protocol => Value::text(exchange::protocol()),
            Self::Status => Value::Number(summary.status.into()),
            Self::Duration => Value::Duration(summary.duration),
            Self::UpstreamDuration => summary.upstream_duration.map_or(Value::Absent, Value::Duration),
            Self::RequestBytes => Value::Number(summary.request_bytes),
            Self::ResponseBytes => Value::Number(summary.response_bytes),
            Self::Route => Value::text(exchange::route()),
            Self::Upstream => Value::text(exchange::upstream()),
            Self::Endpoint => Value::text(exchange::endpoint()),
            Self::RequestId => Value::text(exchange::request_id()),
            Self::TraceId => Value::text(trace.map(|trace| trace.trace_id())),
            Self::Outcome => Value::Text(summary.outcome.as_str().to_owned()),
            Self::GrpcStatus => summary.grpc_status.map_or(Value::Absent, |status| Value::Number(status.into())),
            Self::Variable(name) => Value::bytes(exchange::variable(name).as_deref()),
            Self::Method | Self::Authority | Self::Path | Self::Query | Self::UserAgent | Self::Referer => {
                Value::Absent
            }
        }
    }
}

/// When the request arrived.
pub(crate) fn started() -> Utc {
    Utc::since_epoch(exchange::start_time().unwrap_or_default())
}
