//! Asking an upstream of the configuration, beside the exchange's own request.
//!
//! The response comes whole: its body is here when the future is ready.
//!
//! **Invariant:** a fetch never touches the exchange's own request or its body.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn authorize(req: Request, next: Next) -> Response {
//!     let token = req.headers().get("authorization").unwrap_or_default();
//!     let check = Request::post("/check").with_header("authorization", token);
//!     match fetch("auth", check).timeout(Duration::from_millis(200)).await {
//!         Ok(answer) if answer.status() == 200 => next.pass(req),
//!         Ok(_) => 403.into_response(),
//!         Err(error) => error.into_response(),
//!     }
//! }
//!
//! let mut tester = testing::filter(authorize).on_fetch(|upstream, _| {
//!     assert_eq!(upstream, "auth");
//!     Response::new(401)
//! });
//! assert_eq!(tester.run(Request::get("/"), |_| Response::new(200)).status(), 403);
//! ```

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use meshup_abi::{ErrorKind, Event, Verdict, tag};

use crate::{context, operation::Operation, request::Request, response::Response, wire};

const DEFAULT_LIMIT: usize = 1024 * 1024;

/// Sends `req` to an upstream of the configuration. Without an authority of its own it gets the upstream's.
#[must_use = "nothing is fetched until it is awaited"]
pub fn fetch(upstream: &str, req: Request) -> Fetch<'_> {
    Fetch { upstream, req, deadline: None, limit: DEFAULT_LIMIT, operation: Operation::new(Event::Fetched) }
}

/// A fetch, to be awaited.
#[derive(Debug)]
#[must_use = "nothing is fetched until it is awaited"]
pub struct Fetch<'a> {
    upstream: &'a str,
    req: Request,
    deadline: Option<Duration>,
    limit: usize,
    operation: Operation,
}

impl Fetch<'_> {
    /// A deadline for the whole of it; without one the host's counts.
    pub fn timeout(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The most bytes the response's body may have; 1 MiB unless told.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    fn put(&self, out: &mut Vec<u8>) {
        wire::put_bytes(out, tag::UPSTREAM, self.upstream.as_bytes());
        self.req.put_for_fetch(out);
        wire::put_u64(out, tag::LIMIT, self.limit as u64);
        if let Some(deadline) = self.deadline {
            wire::put_duration(out, tag::DEADLINE, deadline);
        }
    }
}

impl Future for Fetch<'_> {
    type Output = Result<Response, FetchError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.operation.begins() {
            context::ask(Verdict::Fetch, 0, |out| this.put(out));
        }
        this.operation.outcome().map(|message| match FetchError::read(&message) {
            Some(error) => Err(error),
            None => Ok(Response::fetched(message)),
        })
    }
}

/// Why a fetch brought no response: [`ErrorKind::LimitExceeded`] says that its body was larger than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchError(pub ErrorKind);

impl FetchError {
    /// Whether time ran out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, ErrorKind::Timeout | ErrorKind::PerTryTimeout)
    }

    fn read(message: &[u8]) -> Option<Self> {
        let code = wire::first_u32(message, tag::ERROR)?;
        Some(Self(ErrorKind::try_from(code).unwrap_or(ErrorKind::BadResponse)))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fetch failed: {}", self.0)
    }
}

impl std::error::Error for FetchError {}
