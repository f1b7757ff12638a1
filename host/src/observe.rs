//! What meshup tells about itself: metrics and logs.
//!
//! **Invariant:** a metric handle is made once, where its labels become known; the request path only uses it.

mod histogram;
mod json_line;
mod logging;
mod recorder;
mod refusals;

use std::cell::RefCell;

use http::StatusCode;
use meshup_abi::{ErrorKind, Outcome};
use metrics::{Counter, Gauge, Histogram};

pub(crate) use json_line::is_object;
pub(crate) use logging::finish as finish_logging;
pub use logging::{LogFormat, init as init_logging};
pub(crate) use recorder::{
    count_ambiguous_request, count_lookup, count_proxy_protocol_error, count_reload, recorder, set_generation,
};
pub(crate) use refusals::{Refusal, count_error, count_refusal};

use crate::exchange::Summary;

/// The counters of one worker.
#[derive(Clone)]
pub(crate) struct WorkerMetrics {
    /// Client connections open now.
    pub connections_active: Gauge,
    /// Times that no connection could be accepted.
    pub accept_errors: Counter,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
    unrouted: Counters,
}

impl WorkerMetrics {
    pub(crate) fn new() -> Self {
        Self {
            connections_active: metrics::gauge!("meshup_connections_active"),
            accept_errors: metrics::counter!("meshup_accept_errors_total"),
            handshake_failures: metrics::counter!("meshup_tls_handshake_failures_total"),
            unrouted: Counters::new(|status| request_counter("", status)),
        }
    }

    /// Counts a request that reached no route.
    pub(crate) fn unrouted(&self, status: StatusCode) {
        self.unrouted.increment(status);
    }
}

/// The series of one route on one worker.
#[derive(Clone)]
pub(crate) struct RouteMetrics {
    requests: Counters,
    duration: Histogram,
    aborted: Counter,
}

impl RouteMetrics {
    pub(crate) fn new(route: &str) -> Self {
        let name = route.to_owned();
        Self {
            duration: metrics::histogram!("meshup_request_duration_seconds", "route" => name.clone()),
            aborted: metrics::counter!("meshup_requests_aborted_total", "route" => name.clone()),
            requests: Counters::new(move |status| request_counter(&name, status)),
        }
    }

    /// Counts an exchange that is over.
    pub(crate) fn record(&self, summary: &Summary) {
        self.requests.increment(summary.status.unwrap_or_else(client_closed));
        self.duration.record(summary.duration);
        if summary.outcome != Outcome::Complete {
            self.aborted.increment(1);
        }
    }
}

/// What is counted for a request whose client went away before there was a status, as nginx does.
fn client_closed() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The series of one upstream on one worker.
#[derive(Clone)]
pub(crate) struct UpstreamMetrics {
    answered: Counters,
    failed: RefCell<Vec<(ErrorKind, Counter)>>,
    name: String,
}

impl UpstreamMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        let name = upstream.to_owned();
        let answered = Counters::new(move |status| upstream_counter(&name, status.as_str()));
        Self { answered, failed: RefCell::default(), name: upstream.to_owned() }
    }

    /// Counts a request sent, by the status of its response or by why there was none.
    pub(crate) fn count(&self, status: StatusCode, error: Option<ErrorKind>) {
        let Some(error) = error else { return self.answered.increment(status) };
        let mut failed = self.failed.borrow_mut();
        if let Some((_, counter)) = failed.iter().find(|(kind, _)| *kind == error) {
            return counter.increment(1);
        }
        let counter = upstream_counter(&self.name, error.as_str());
        counter.increment(1);
        failed.push((error, counter));
    }
}

fn request_counter(route: &str, status: StatusCode) -> Counter {
    metrics::counter!("meshup_requests_total", "route" => route.to_owned(), "status" => status.as_str().to_owned())
}

fn upstream_counter(upstream: &str, result: &str) -> Counter {
    metrics::counter!(
        "meshup_upstream_requests_total", "upstream" => upstream.to_owned(), "result" => result.to_owned()
    )
}

/// One counter per status code, made when the code first comes up. Few codes do, so a short list beats a table.
#[derive(Clone)]
struct Counters {
    by_status: RefCell<Vec<(StatusCode, Counter)>>,
    make: std::rc::Rc<dyn Fn(StatusCode) -> Counter>,
}

impl Counters {
    fn new(make: impl Fn(StatusCode) -> Counter + 'static) -> Self {
        Self { by_status: RefCell::default(), make: std::rc::Rc::new(make) }
    }

    fn increment(&self, status: StatusCode) {
        let mut counters = self.by_status.borrow_mut();
        if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == status) {
            return counter.increment(1);
        }
        let counter = (self.make)(status);
        counter.increment(1);
        counters.push((status, counter));
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        })*
    };
}
opaque_debug!(WorkerMetrics, RouteMetrics, UpstreamMetrics, Counters);
