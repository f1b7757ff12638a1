//! Upstreams as one worker sees them: endpoints, balancing, connection pools.
//!
//! Everything here belongs to one thread; nothing is shared with other workers.
//!
//! **Invariant:** a connection carries one HTTP/1.1 exchange at a time and goes back to its pool only after both its
//! request and its response ended cleanly.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use meshup_abi::ErrorKind;

mod balance;
mod connect;
mod endpoint;
mod http1;
mod http2;
mod spare;

pub(crate) use endpoint::{Endpoint, EndpointKey, Lease};

use crate::{
    body::{RequestBody, RequestSource},
    config,
    observe::UpstreamMetrics,
};
use balance::Balancer;

/// The place of a request until it is sent. Requests are large: what passes them on passes on their place.
pub(crate) type Outgoing = Option<Request<RequestBody>>;

/// An endpoint's answer and the hold on its connection.
pub(crate) type Answer = (Response<Incoming>, Lease);

/// One upstream of one configuration generation.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub name: Arc<str>,
    pub response_timeout: Duration,
    endpoints: Vec<Rc<Endpoint>>,
    balancer: Balancer,
    overload_reported: Cell<bool>,
    metrics: UpstreamMetrics,
}

impl Upstream {
    /// An upstream over endpoints that `endpoint` finds or makes, one per configured address.
    pub(crate) fn new(
        name: Arc<str>,
        config: &config::Upstream,
        endpoint: impl FnMut(EndpointKey) -> Rc<Endpoint>,
    ) -> Self {
        let key = |address: &std::net::SocketAddr| EndpointKey { address: *address, settings: config.into() };
        Self {
            metrics: UpstreamMetrics::new(&name),
            name,
            response_timeout: config.response_timeout,
            endpoints: config.endpoints.iter().map(key).map(endpoint).collect(),
            balancer: Balancer::new(config.load_balancing),
            overload_reported: Cell::new(false),
        }
    }

    /// The endpoints, in the order of the configuration.
    pub(crate) fn endpoints(&self) -> &[Rc<Endpoint>] {
        &self.endpoints
    }

    /// Counts a request by the status of its response, or by why there was none.
    pub(crate) fn count(&self, status: StatusCode, error: Option<ErrorKind>) {
        self.metrics.count(status, error);
    }

    /// Sends a request to one endpoint after another until one takes it; `on_endpoint` sees each that is tried. The
    /// request is taken out of its place when it is sent.
    ///
    /// # Errors
    /// What happened at the last endpoint tried. A request that is then still in its place was not sent.
    pub(crate) async fn send(
        &self,
        request: &mut Outgoing,
        mut on_endpoint: impl FnMut(&Endpoint),
    ) -> Result<Answer, ErrorKind> {
        let mut tries = self.endpoints.len().min(MAX_ENDPOINTS_TRIED);
        let mut at = self.balancer.pick(&self.endpoints).ok_or(ErrorKind::NoUpstream)?;
        loop {
            let endpoint = self.endpoints.get(at).ok_or(ErrorKind::NoUpstream)?;
            on_endpoint(endpoint);
            tries = tries.saturating_sub(1);
            match endpoint.send(request).await {
                Err(ErrorKind::ConnectFailure | ErrorKind::Overloaded) if tries > 0 && request.is_some() => {
                    at = (at + 1) % self.endpoints.len();
                }
                Err(kind) => {
                    self.report_overload(kind);
                    return Err(kind);
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn report_overload(&self, kind: ErrorKind) {
        if kind == ErrorKind::Overloaded && !self.overload_reported.replace(true) {
            tracing::warn!(upstream = &*self.name, "every connection is in use; further cases are only counted");
        }
    }
}

/// How many endpoints one request is offered to when connecting fails.
const MAX_ENDPOINTS_TRIED: usize = 3;

/// What a failure of a connection means for the exchange on it.
fn error_kind(error: &hyper::Error, source: Option<&Rc<RequestSource>>) -> ErrorKind {
    match source.and_then(|source| source.failure()) {
        Some(failure) => failure.kind(),
        None if error.is_parse() => ErrorKind::BadResponse,
        None => ErrorKind::Reset,
    }
}
