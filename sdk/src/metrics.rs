//! Counters, gauges and histograms, with labels. They appear with the proxy's own under its `/metrics`.
//!
//! A metric is a constant; each combination of label values is a series, whose handle is asked for once and then kept.
//! Label values should be few: the host has a quota of series, beyond which recording does nothing.
//!
//! What an event brings reaches the host 64 values at a time and when the event is done, a panic included. Of an event that
//! ends in another trap, such as the limits of CPU time and memory, the last values, up to 63, are lost.
//!
//! **Invariant:** recording never fails and never stops an exchange.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! static REQUESTS: Counter<1> = Counter::new("orders_requests_total", ["method"]);
//!
//! async fn count(req: Request, next: Next) -> Response {
//!     REQUESTS.with([req.method()]).add(1);
//!     next.pass(req)
//! }
//!
//! let mut tester = testing::filter(count);
//! tester.run(Request::get("/"), |_| Response::new(200));
//! assert_eq!(tester.metric("orders_requests_total", [("method", "GET")]), [1.0]);
//! ```

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use meshup_abi::{MetricKind, MetricOp, tag};

use crate::{host, wire};

thread_local! {
    static SERIES: RefCell<Cache> = const { RefCell::new(Cache { handles: BTreeMap::new(), key: Vec::new() }) };
}

/// The handles the host gave, by the message that asks for them.
struct Cache {
    handles: BTreeMap<Box<[u8]>, i32>,
    key: Vec<u8>,
}

impl Cache {
    /// The handle of a series; the host is asked at the first time only.
    fn series(
        &mut self,
        kind: MetricKind,
        name: &str,
        labels: impl Iterator<Item = (&'static str, impl AsRef<str>)>,
    ) -> i32 {
        self.key.clear();
        wire::put_bytes(&mut self.key, tag::NAME, name.as_bytes());
        for (label, value) in labels {
            wire::put_pair(&mut self.key, tag::LABEL, label.as_bytes(), value.as_ref().as_bytes());
        }
        if let Some(&handle) = self.handles.get(self.key.as_slice()) {
            return handle;
        }
        let handle = host::metric_series(kind, &self.key);
        self.handles.insert(self.key.as_slice().into(), handle);
        if handle < 0 {
            crate::warn!("no series of metric {name:?}: the host refused it ({handle})");
        }
        handle
    }
}

/// Forgets every handle: a test has another host.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn forget_series() {
    SERIES.with_borrow_mut(|cache| cache.handles.clear());
}

fn series<const N: usize>(kind: MetricKind, name: &str, labels: &[&'static str; N], values: [&str; N]) -> i32 {
    SERIES.with_borrow_mut(|cache| cache.series(kind, name, labels.iter().copied().zip(values)))
}

fn record(series: i32, op: MetricOp, value: f64) {
    if series >= 0 {
        host::metric_record(series, op, value);
    }
}

/// A metric that only goes up, with `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Counter<const N: usize = 0> {
    name: &'static str,
    labels: [&'static str; N],
}

impl<const N: usize> Counter<N> {
    /// A counter with these label names. By convention its name ends in `_total`.
    #[must_use]
    pub const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, labels }
    }

    /// The series with these label values, in the order of the names. It may be kept.
    #[must_use]
    pub fn with(&self, values: [&str; N]) -> CounterSeries {
        CounterSeries(series(MetricKind::Counter, self.name, &self.labels, values))
    }
}

impl Counter {
    /// Adds to a counter without labels.
    pub fn add(&self, count: u64) {
        self.with([]).add(count);
    }
}

/// One series of a [`Counter`].
#[derive(Debug, Clone, Copy)]
pub struct CounterSeries(i32);

impl CounterSeries {
    /// Adds.
    pub fn add(self, count: u64) {
        record(self.0, MetricOp::Add, count as f64);
    }
}

/// A metric that goes up and down, with `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Gauge<const N: usize = 0> {
    name: &'static str,
    labels: [&'static str; N],
}

impl<const N: usize> Gauge<N> {
    /// A gauge with these label names.
    #[must_use]
    pub const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, labels }
    }

    /// The series with these label values, in the order of the names. It may be kept.
    #[must_use]
    pub fn with(&self, values: [&str; N]) -> GaugeSeries {
        GaugeSeries(series(MetricKind::Gauge, self.name, &self.labels, values))
    }
}

impl Gauge {
    /// Adds to a gauge without labels.
    pub fn add(&self, delta: f64) {
        self.with([]).add(delta);
    }

    /// Sets a gauge without labels.
    pub fn set(&self, value: f64) {
        self.with([]).set(value);
    }
}

/// One series of a [`Gauge`].
#[derive(Debug, Clone, Copy)]
pub struct GaugeSeries(i32);

impl GaugeSeries {
    /// Adds; a negative number takes away.
    pub fn add(self, delta: f64) {
        record(self.0, MetricOp::Add, delta);
    }

    /// Sets.
    pub fn set(self, value: f64) {
        record(self.0, MetricOp::Set, value);
    }
}

/// A metric that counts values in buckets, with `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Histogram<const N: usize = 0> {
    name: &'static str,
    labels: [&'static str; N],
}

impl<const N: usize> Histogram<N> {
    /// A histogram with these label names. By convention its name ends in the unit: `_seconds`, `_bytes`.
    #[must_use]
    pub const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, labels }
    }

    /// The series with these label values, in the order of the names. It may be kept.
    #[must_use]
    pub fn with(&self, values: [&str; N]) -> HistogramSeries {
        HistogramSeries(series(MetricKind::Histogram, self.name, &self.labels, values))
    }
}

impl Histogram {
    /// Records a value in a histogram without labels.
    pub fn record(&self, value: f64) {
        self.with([]).record(value);
    }
}

/// One series of a [`Histogram`].
#[derive(Debug, Clone, Copy)]
pub struct HistogramSeries(i32);

impl HistogramSeries {
    /// Records a value.
    pub fn record(self, value: f64) {
        record(self.0, MetricOp::Record, value);
    }

    /// Records a duration, in seconds.
    pub fn record_duration(self, value: Duration) {
        self.record(value.as_secs_f64());
    }
}
