//! Aborts: the answer that stands for a failure.
//!
//! **Invariant:** only a gRPC request gets an answer in the form of gRPC.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;

use crate::share::{Percent, Share};

/// The statuses of gRPC; 0 is no failure.
const GRPC_STATUSES: std::ops::RangeInclusive<u8> = 1..=16;

/// What is aborted, and how.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawAbort")]
pub(crate) struct Abort {
    pub(crate) share: Share,
    status: u16,
    grpc_status: Option<u8>,
    body: String,
    content_type: HeaderValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAbort {
    #[serde(default = "default_status")]
    status: u16,
    grpc_status: Option<u8>,
    #[serde(default = "default_body")]
    body: String,
    content_type: Option<HeaderValue>,
    #[serde(default)]
    percent: Percent,
    #[serde(default)]
    headers: BTreeMap<HeaderName, String>,
}

fn default_status() -> u16 {
    503
}

fn default_body() -> String {
    "injected fault\n".to_owned()
}

impl TryFrom<RawAbort> for Abort {
    type Error = String;

    fn try_from(raw: RawAbort) -> Result<Self, String> {
        let RawAbort { status, grpc_status, body, content_type, percent, headers } = raw;
        if !(200..=599).contains(&status) {
            return Err(format!("status: invalid status {status}: expected 200 to 599"));
        }
        if let Some(code) = grpc_status.filter(|code| !GRPC_STATUSES.contains(code)) {
            return Err(format!("grpc_status: invalid status {code}: expected 1 to 16"));
        }
        let content_type = match content_type {
            Some(content_type) => content_type,
            None => HeaderValue::try_from("text/plain; charset=utf-8".to_owned()).map_err(|error| error.to_string())?,
        };
        Ok(Self { share: Share { percent, headers }, status, grpc_status, body, content_type })
    }
}

impl Abort {
    /// The answer.
    pub(crate) fn response(&self, req: &Request) -> Response {
        match self.grpc_status {
            Some(code) if is_grpc(req) => grpc(code),
            _ if self.body.is_empty() => Response::new(self.status),
            _ => {
                Response::new(self.status).with_header("content-type", &self.content_type).with_body(self.body.as_str())
            }
        }
    }
}

/// Whether the request is one of gRPC, in any encoding of its messages.
fn is_grpc(req: &Request) -> bool {
    let content_type = req.headers().get("content-type").unwrap_or_default();
    let rest = content_type.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// A gRPC response without messages has its status among the headers ("trailers-only").
fn grpc(code: u8) -> Response {
    Response::new(200)
        .with_header("content-type", "application/grpc")
        .with_header("grpc-status", code.to_string())
        .with_header("grpc-message", "injected fault")
}
