//! Counters and histograms by route, method and status.
//!
//! The host is asked for a series at its first use; afterwards its handle is found by number. The route is looked up
//! once per exchange.
//!
//! **Invariant:** an exchange that began ends as well, so that what is in flight comes back to zero.

use std::cell::RefCell;

use meshup_sdk::{
    metrics::{CounterSeries, GaugeSeries, HistogramSeries},
    prelude::*,
};

use crate::method::Method;

const LABELS: [&str; 3] = ["route", "method", "status"];

static REQUESTS: Counter<3> = Counter::new("http_requests_total", LABELS);
static DURATION: Histogram<3> = Histogram::new("http_request_duration_seconds", LABELS);
static REQUEST_SIZE: Histogram<3> = Histogram::new("http_request_size_bytes", LABELS);
static RESPONSE_SIZE: Histogram<3> = Histogram::new("http_response_size_bytes", LABELS);
static IN_FLIGHT: Gauge<1> = Gauge::new("http_requests_in_flight", ["route"]);

/// The series of this instance. There are few routes, and few methods and statuses to each.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: RefCell<Vec<Route>>,
}

#[derive(Debug)]
struct Route {
    name: String,
    in_flight: GaugeSeries,
    kinds: Vec<(Method, u16, Series)>,
}

/// What is recorded for each exchange of a route, method and status.
#[derive(Debug, Clone, Copy)]
struct Series {
    requests: CounterSeries,
    duration: HistogramSeries,
    request_size: HistogramSeries,
    response_size: HistogramSeries,
}

/// An exchange in flight.
#[derive(Debug)]
pub(crate) struct Observation {
    metrics: &'static Metrics,
    route: usize,
    method: Method,
}

impl Metrics {
    /// An exchange begins.
    pub(crate) fn begin(&'static self, method: &str) -> Observation {
        let route = exchange::with_attribute(Attribute::Route, |name| self.route(name));
        let route = route.unwrap_or_else(|| self.route(""));
        self.routes.borrow()[route].in_flight.add(1.0);
        Observation { metrics: self, route, method: Method::new(method) }
    }

    /// The index of the route with that name.
    fn route(&self, name: &str) -> usize {
        let mut routes = self.routes.borrow_mut();
        routes.iter().position(|route| route.name == name).unwrap_or_else(|| {
            routes.push(Route::new(name.to_owned()));
            routes.len() - 1
        })
    }
}

impl Route {
    fn new(name: String) -> Self {
        Self { in_flight: IN_FLIGHT.with([&name]), name, kinds: Vec::new() }
    }

    fn series(&mut self, method: Method, status: u16) -> Series {
        let known = self.kinds.iter().find(|kind| (kind.0, kind.1) == (method, status));
        if let Some((.., series)) = known {
            return *series;
        }
        let series = Series::new([&self.name, method.as_str(), &status.to_string()]);
        self.kinds.push((method, status, series));
        series
    }
}

impl Series {
    fn new(labels: [&str; 3]) -> Self {
        Self {
            requests: REQUESTS.with(labels),
            duration: DURATION.with(labels),
            request_size: REQUEST_SIZE.with(labels),
            response_size: RESPONSE_SIZE.with(labels),
        }
    }
}

impl Observation {
    /// The exchange is over.
    pub(crate) fn end(self, summary: &Summary) {
        let mut routes = self.metrics.routes.borrow_mut();
        let Some(route) = routes.get_mut(self.route) else { return };
        route.in_flight.add(-1.0);
        let series = route.series(self.method, summary.status);
        series.requests.add(1);
        series.duration.record_duration(summary.duration);
        series.request_size.record(summary.request_bytes as f64);
        series.response_size.record(summary.response_bytes as f64);
    }
}
