//! How an exchange ended.
//!
//! **Invariant:** plain data; it outlives nothing and refers to nothing.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn telemetry(req: Request, next: Next) -> Response {
//!     req.on_end(|summary| info!("{} after {:?}", summary.status, summary.duration));
//!     next.pass(req)
//! }
//!
//! let mut tester = testing::filter(telemetry);
//! tester.run(Request::get("/"), |_| Response::new(204));
//! assert!(tester.logs()[0].text.starts_with("204 after"));
//! ```

use std::time::Duration;

use meshup_abi::{Field, Outcome, tag};

use crate::wire;

/// What is known about an exchange when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The status code the client got; 0 when it went away before there was one.
    pub status: u16,
    /// From the first byte of the request to the end.
    pub duration: Duration,
    /// From the start of the exchange until the upstream's response head, where there was one.
    pub upstream_duration: Option<Duration>,
    /// Request body bytes received from the client.
    pub request_bytes: u64,
    /// Response body bytes sent to the client.
    pub response_bytes: u64,
    /// The gRPC status, where the response or its trailers carried one.
    pub grpc_status: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Summary {
    pub(crate) fn read(message: &[u8]) -> Self {
        let mut summary = Self {
            status: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
            request_bytes: 0,
            response_bytes: 0,
            grpc_status: None,
            outcome: Outcome::Complete,
        };
        for field in wire::fields(message) {
            match field.tag {
                tag::STATUS => summary.status = field.u16().unwrap_or_default(),
                tag::DURATION => summary.duration = field.duration().unwrap_or_default(),
                tag::UPSTREAM_DURATION => summary.upstream_duration = field.duration().ok(),
                tag::REQUEST_BYTES => summary.request_bytes = field.u64().unwrap_or_default(),
                tag::RESPONSE_BYTES => summary.response_bytes = field.u64().unwrap_or_default(),
                tag::GRPC_STATUS => summary.grpc_status = field.u32().ok(),
                tag::OUTCOME => summary.outcome = outcome(field),
                _ => {}
            }
        }
        summary
    }
}

/// One of a later host is taken for the usual one.
fn outcome(field: Field<'_>) -> Outcome {
    field.u32().ok().and_then(|code| Outcome::try_from(code).ok()).unwrap_or(Outcome::Complete)
}
