//! The end of an exchange: what it came to, told once to metrics and to the filters that asked.
//!
//! **Invariant:** every exchange that reached a route ends exactly once, also when the client goes away.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode};
use meshup_abi::Outcome;

use super::{ExchangeInfo, chain::Slots};
use crate::{
    body::RequestSource,
    worker::{Generation, Route},
};

/// How much of an unwanted request is read over, and for how long.
const SKIP_BYTES: usize = 64 * 1024;
const SKIP_TIME: Duration = Duration::from_secs(5);

/// What an exchange came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    /// None when the client went away before there was one.
    pub status: Option<StatusCode>,
    pub duration: Duration,
    pub upstream_duration: Option<Duration>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub grpc_status: Option<u32>,
    pub outcome: Outcome,
}

/// An exchange as far as its end needs it.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Keeps the generation for as long as the exchange lasts.
    pub(super) generation: Rc<Generation>,
    pub(super) route: Rc<Route>,
    pub(super) info: Option<Box<ExchangeInfo>>,
    pub(super) slots: Slots,
    /// Where the client meant to go, on a transparent listener.
    pub(super) destination: Option<SocketAddr>,
    pub(super) request: Option<Rc<RequestSource>>,
    pub(super) started: Instant,
    pub(super) upstream_duration: Option<Duration>,
    pub(super) status: Option<StatusCode>,
    pub(super) response_bytes: u64,
    /// Behind an upgrade.
    pub(super) tunnelled_bytes: u64,
    pub(super) grpc_status: Option<u32>,
    /// What the client still sends after its answer is read over: the connection can serve its next request.
    pub(super) skips_rest: bool,
    pub(super) ended: bool,
}

impl Completion {
    /// Counts response body bytes.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }

    /// Counts what went through a tunnel in each direction.
    pub(crate) fn tunnelled(&mut self, up: u64, down: u64) {
        self.tunnelled_bytes = up;
        self.response_bytes = down;
    }

    /// For how long nothing may move behind an upgrade.
    pub(crate) fn upgrade_idle_timeout(&self) -> Duration {
        self.route.upgrade_idle_timeout
    }

    /// Looks at the trailers for the gRPC status.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.grpc_status = grpc_status(trailers).or(self.grpc_status);
    }

    /// The exchange is over.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.finish(outcome);
        if let Some(request) = self.request.take().filter(|request| !request.ended()) {
            leave(request, self.skips_rest && outcome == Outcome::Complete);
        }
    }

    /// The exchange so far.
    pub(super) fn summary(&self, outcome: Outcome) -> Summary {
        Summary {
            status: self.status,
            duration: self.started.elapsed(),
            upstream_duration: self.upstream_duration,
            request_bytes: self.request.as_ref().map_or(0, |request| request.received()) + self.tunnelled_bytes,
            response_bytes: self.response_bytes,
            grpc_status: self.grpc_status,
            outcome,
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let summary = self.summary(outcome);
        self.slots.finish(&summary, &mut self.info);
        self.route.metrics.record(&summary);
    }
}

impl Drop for Completion {
    /// An exchange that is dropped before its response was handed over: the client went away.
    fn drop(&mut self) {
        self.finish(Outcome::ClientAbort);
    }
}

/// The client has its answer, but is not through with its request: the rest is read over, or no more of it is read.
fn leave(request: Rc<RequestSource>, skips_rest: bool) {
    request.supersede();
    if !skips_rest {
        return request.abandon();
    }
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(SKIP_TIME, request.skip(SKIP_BYTES)).await;
        request.abandon();
    });
}

/// The gRPC status that headers or trailers carry.
pub(super) fn grpc_status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}
