//! Upstreams as one worker sees them: endpoints, balancing, connection pools.
//!
//! Everything here belongs to one thread; nothing is shared with other workers.
//!
//! **Invariant:** a connection carries one HTTP/1.1 exchange at a time and goes back to its pool only after both its
//! request and its response ended cleanly.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use meshup_abi::ErrorKind;

mod answer;
mod balance;
mod connect;
mod destination;
mod endpoint;
mod http1;
mod http2;
mod list;
mod tls;
mod unprocessed;

pub(crate) use answer::{AnswerBody, ReadError, Upgraded};
pub(crate) use destination::Destinations;
pub(crate) use endpoint::{Endpoint, EndpointKey, Settings};
pub(crate) use list::EndpointList;
pub(crate) use tls::{Connector, Material};

use crate::{body::RequestBody, config, observe::UpstreamMetrics};
use balance::Balancer;

/// The place of a request until it is sent. Requests are large: what passes them on passes on their place.
pub(crate) type Outgoing = Option<Request<RequestBody>>;

/// An endpoint's answer, with the hold on its connection.
pub(crate) type Answer = Response<AnswerBody>;

/// One upstream of one configuration generation.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub name: Arc<str>,
    pub response_timeout: Duration,
    protocol: config::Protocol,
    places: Places,
    balancer: Balancer,
    overload_reported: Cell<bool>,
    metrics: UpstreamMetrics,
}

/// Where the connections of an upstream go.
#[derive(Debug)]
pub(crate) enum Places {
    /// To one of these, in the order of the configuration.
    Endpoints(EndpointList),
    /// Where the client's connection was meant to go.
    Destinations(Rc<Destinations>),
}

impl Upstream {
    /// An upstream with its places.
    pub(crate) fn new(name: Arc<str>, config: &config::Upstream, places: Places) -> Self {
        Self {
            metrics: UpstreamMetrics::new(&name),
            name,
            response_timeout: config.response_timeout,
            protocol: config.protocol,
            places,
            balancer: Balancer::new(config.load_balancing),
            overload_reported: Cell::new(false),
        }
    }

    /// Whether it can be asked to switch protocols, and for interim responses.
    pub(crate) fn speaks_http1(&self) -> bool {
        self.protocol == config::Protocol::Http1
    }

    /// The endpoints of the configuration and its names, each once.
    pub(crate) fn endpoints(&self) -> Vec<Rc<Endpoint>> {
        match &self.places {
            Places::Endpoints(endpoints) => endpoints.distinct(),
            Places::Destinations(_) => Vec::new(),
        }
    }

    /// The same, or the original destinations in use.
    pub(crate) fn endpoints_in_use(&self) -> Vec<Rc<Endpoint>> {
        match &self.places {
            Places::Endpoints(endpoints) => endpoints.distinct(),
            Places::Destinations(destinations) => destinations.endpoints(),
        }
    }

    /// Takes up the addresses that names stand for now, where they are others; `endpoint` finds or makes an endpoint.
    pub(crate) fn follow_names(&self, endpoint: impl FnMut(EndpointKey) -> Rc<Endpoint>) {
        if let Places::Endpoints(endpoints) = &self.places {
            endpoints.follow_names(endpoint);
        }
    }

    /// Counts a request by the status of its response, or by why there was none.
    pub(crate) fn count(&self, status: StatusCode, error: Option<ErrorKind>) {
        self.metrics.count(status, error);
    }

    /// Sends a request to one endpoint after another until one takes it, or to its `destination`; `on_endpoint` sees each
    /// that is tried. The request is taken out of its place when it is sent.
    ///
    /// # Errors
    /// What happened at the last endpoint tried. A request that is then still in its place was not sent.
    pub(crate) async fn send(
        &self,
        request: &mut Outgoing,
        destination: Option<SocketAddr>,
        mut on_endpoint: impl FnMut(&Endpoint),
    ) -> Result<Answer, ErrorKind> {
        let endpoints = match &self.places {
            Places::Endpoints(endpoints) => endpoints.now(),
            Places::Destinations(destinations) => {
                let endpoint = destinations.endpoint(destination.ok_or(ErrorKind::NoDestination)?)?;
                on_endpoint(&endpoint);
                return endpoint.send(request).await.inspect_err(|kind| self.report_overload(*kind));
            }
        };
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

    /// Which endpoint gets the next request, for the micro-benchmarks.
    #[cfg(feature = "bench")]
    pub(crate) fn pick(&self) -> Option<usize> {
        let Places::Endpoints(endpoints) = &self.places else { return None };
        self.balancer.pick(&endpoints.now())
    }

    fn report_overload(&self, kind: ErrorKind) {
        if kind == ErrorKind::Overloaded && !self.overload_reported.replace(true) {
            tracing::warn!(upstream = &*self.name, "every connection is in use; further cases are only counted");
        }
    }
}

/// How many endpoints one request is offered to when connecting fails.
const MAX_ENDPOINTS_TRIED: usize = 3;
