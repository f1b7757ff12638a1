//! Upstreams as one worker sees them: endpoints, balancing, connection pools.
//!
//! Everything here belongs to one thread; nothing is shared with other workers.
//!
//! **Invariant:** a connection carries one HTTP/1.1 exchange at a time and goes back to its pool only after both its
//! request and its response ended cleanly.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

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
    body::{BodyFailure, RequestBody, RequestSource},
    config,
    names::Members,
    observe::UpstreamMetrics,
};
use balance::{Balancer, Turns};
use endpoint::Settings;

/// The place of a request until it is sent. Requests are large: what passes them on passes on their place.
pub(crate) type Outgoing = Option<Request<RequestBody>>;

/// An endpoint's answer and the hold on its connection.
pub(crate) type Answer = (Response<Incoming>, Lease);

/// One upstream of one configuration generation.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub name: Arc<str>,
    pub response_timeout: Duration,
    settings: Settings,
    members: RefCell<Members>,
    /// Replaced as a whole when names stand for other addresses.
    turns: RefCell<Turns>,
    balancer: Balancer,
    overload_reported: Cell<bool>,
    metrics: UpstreamMetrics,
}

impl Upstream {
    /// An upstream over endpoints that `endpoint` finds or makes, one per address of its members.
    pub(crate) fn new(
        name: Arc<str>,
        config: &config::Upstream,
        members: Members,
        endpoint: impl FnMut(EndpointKey) -> Rc<Endpoint>,
    ) -> Self {
        let upstream = Self {
            metrics: UpstreamMetrics::new(&name),
            name,
            response_timeout: config.response_timeout,
            settings: config.into(),
            members: RefCell::new(members),
            turns: RefCell::default(),
            balancer: Balancer::new(config.load_balancing),
            overload_reported: Cell::new(false),
        };
        upstream.refresh(endpoint);
        upstream
    }

    /// The endpoints, each once.
    pub(crate) fn endpoints(&self) -> Vec<Rc<Endpoint>> {
        balance::distinct(&self.turns.borrow())
    }

    /// Whether names stand for other addresses than at the last [`refresh`](Self::refresh).
    pub(crate) fn has_changed(&self) -> bool {
        self.members.borrow().have_changed()
    }

    /// Takes up the addresses that names stand for now.
    pub(crate) fn refresh(&self, mut endpoint: impl FnMut(EndpointKey) -> Rc<Endpoint>) {
        let members = self.members.borrow_mut().now();
        let endpoints = members.into_iter().map(|member| {
            let key = EndpointKey { address: member.address, name: member.name, settings: self.settings };
            (endpoint(key), member.turns)
        });
        let turns = balance::turns(&endpoints.collect::<Vec<_>>());
        self.turns.replace(turns);
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
        let endpoints = self.turns.borrow().clone();
        let mut tries = endpoints.len().min(MAX_ENDPOINTS_TRIED);
        let mut at = self.balancer.pick(&endpoints).ok_or(ErrorKind::NoUpstream)?;
        loop {
            let endpoint = endpoints.get(at).ok_or(ErrorKind::NoUpstream)?;
            on_endpoint(endpoint);
            tries = tries.saturating_sub(1);
            match endpoint.send(request).await {
                Err(ErrorKind::ConnectFailure | ErrorKind::Overloaded) if tries > 0 && request.is_some() => {
                    at = balance::next(&endpoints, at);
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
        Some(BodyFailure::TooLarge) => ErrorKind::BodyTooLarge,
        Some(BodyFailure::ClientAbort | BodyFailure::Superseded) => ErrorKind::ClientAbort,
        None if error.is_parse() => ErrorKind::BadResponse,
        None => ErrorKind::Reset,
    }
}
