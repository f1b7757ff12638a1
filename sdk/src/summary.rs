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

use meshup_abi::{Outcome, tag};

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
        let bytes = |tag| wire::first(message, tag).and_then(|field| field.u64().ok()).unwrap_or_default();
        let outcome = wire::first_u32(message, tag::OUTCOME).and_then(|code| Outcome::try_from(code).ok());
        Self {
            status: wire::first(message, tag::STATUS).and_then(|field| field.u16().ok()).unwrap_or_default(),
            duration: wire::first_duration(message, tag::DURATION).unwrap_or_default(),
            upstream_duration: wire::first_duration(message, tag::UPSTREAM_DURATION),
            request_bytes: bytes(tag::REQUEST_BYTES),
            response_bytes: bytes(tag::RESPONSE_BYTES),
            grpc_status: wire::first_u32(message, tag::GRPC_STATUS),
            outcome: outcome.unwrap_or(Outcome::Complete),
        }
    }
}
