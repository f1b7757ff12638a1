//! Counts requests by method and status, measures their duration, and gives them a trace and an id.
//!
//! Metrics are defined once for each method and status and then known by their number.

use std::{
    cell::{Cell, RefCell},
    fmt::Write,
    rc::Rc,
    time::{Duration, SystemTime},
};

use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::{Action, MetricType},
};

/// What all requests of a worker share.
pub(crate) struct Metrics {
    counters: RefCell<Vec<Counter>>,
    duration: u32,
    random: Cell<u64>,
}

struct Counter {
    method: Vec<u8>,
    status: Vec<u8>,
    metric: u32,
}

impl Metrics {
    pub(crate) fn new() -> Option<Self> {
        let duration = hostcalls::define_metric(MetricType::Histogram, "duration_us").ok()?;
        let seed = since_epoch(hostcalls::get_current_time().ok()?).as_nanos() as u64;
        Some(Self { counters: RefCell::default(), duration, random: Cell::new(seed | 1) })
    }

    fn count(&self, method: &[u8], status: &[u8]) {
        let known = self.counters.borrow().iter().find(|one| one.is(method, status)).map(|one| one.metric);
        if let Some(metric) = known.or_else(|| self.define(method, status)) {
            hostcalls::increment_metric(metric, 1).ok();
        }
    }

    fn define(&self, method: &[u8], status: &[u8]) -> Option<u32> {
        let name = format!("requests.{}.{}", String::from_utf8_lossy(method), String::from_utf8_lossy(status));
        let metric = hostcalls::define_metric(MetricType::Counter, &name).ok()?;
        self.counters.borrow_mut().push(Counter { method: method.into(), status: status.into(), metric });
        Some(metric)
    }

    /// splitmix64; the ABI has no source of random numbers.
    fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Counter {
    fn is(&self, method: &[u8], status: &[u8]) -> bool {
        self.status == status && self.method == method
    }
}

/// One request.
pub(crate) struct Telemetry {
    id: u32,
    metrics: Rc<Metrics>,
    began: SystemTime,
    method: Vec<u8>,
}

impl Telemetry {
    pub(crate) fn new(id: u32, metrics: Rc<Metrics>) -> Self {
        Self { id, metrics, began: SystemTime::UNIX_EPOCH, method: Vec::new() }
    }

    /// The trace goes on with a span of its own, or begins.
    fn carry_trace_on(&self) {
        let incoming = self.get_http_request_header("traceparent");
        let continued = incoming.as_deref().and_then(trace_and_flags);
        let mut value = String::with_capacity(55);
        let span = self.metrics.random();
        match continued {
            Some((trace, flags)) => write!(value, "00-{trace}-{span:016x}-{flags}"),
            None => write!(value, "00-{:016x}{:016x}-{span:016x}-01", self.metrics.random(), self.metrics.random()),
        }
        .ok();
        self.set_http_request_header("traceparent", Some(&value));
    }

    fn give_request_id(&self) {
        if self.get_http_request_header_bytes("x-request-id").is_none() {
            let id = format!("{:016x}{:016x}", self.metrics.random(), self.metrics.random() ^ u64::from(self.id));
            self.set_http_request_header("x-request-id", Some(&id));
        }
    }
}

impl Context for Telemetry {}

impl HttpContext for Telemetry {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.began = self.get_current_time();
        self.method = self.get_http_request_header_bytes(":method").unwrap_or_default();
        self.carry_trace_on();
        self.give_request_id();
        Action::Continue
    }

    fn on_log(&mut self) {
        let status = self.get_http_response_header_bytes(":status").unwrap_or_else(|| b"0".to_vec());
        self.metrics.count(&self.method, &status);
        let duration = self.get_current_time().duration_since(self.began).unwrap_or_default();
        hostcalls::record_metric(self.metrics.duration, duration.as_micros() as u64).ok();
    }
}

/// The trace id and the flags of a `traceparent` of version 00.
fn trace_and_flags(value: &str) -> Option<(&str, &str)> {
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fields = (value.get(..3)?, value.get(3..35)?, value.get(35..36)?, value.get(36..52)?, value.get(52..53)?);
    let ("00-", trace, "-", span, "-") = fields else { return None };
    let flags = value.get(53..).filter(|flags| flags.len() == 2)?;
    (hex(trace) && hex(span) && hex(flags)).then_some((trace, flags))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
