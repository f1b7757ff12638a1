//! The process's one metrics recorder: counters and gauges are the exporter's, histograms ours.

use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::{histogram::Histograms, logging};
use crate::config::Endpoint;

struct Recorder {
    exporter: PrometheusRecorder,
    histograms: Arc<Histograms>,
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_counter(name, unit, description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_gauge(name, unit, description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.histograms.describe(name.as_str(), description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.exporter.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.exporter.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.histograms.register(key)
    }
}

/// Reads what was recorded.
pub(crate) struct Metrics {
    exporter: PrometheusHandle,
    histograms: Arc<Histograms>,
}

impl Metrics {
    /// All metrics in Prometheus's text format.
    pub(crate) fn render(&self) -> String {
        metrics::counter!("meshup_log_lines_dropped_total").absolute(logging::lines_dropped());
        let mut text = self.exporter.render();
        self.histograms.render(&mut text);
        text
    }
}

/// The recorder, installed at the first call.
pub(crate) fn recorder() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        let exporter = PrometheusBuilder::new().build_recorder();
        let metrics = Metrics { exporter: exporter.handle(), histograms: Arc::default() };
        let recorder = Recorder { exporter, histograms: metrics.histograms.clone() };
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
        }
        describe();
        metrics
    })
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("meshup_requests_total", "Requests, by route and by the status the client got");
    describe_counter!("meshup_requests_ambiguous_total", "Requests refused because of their framing");
    describe_counter!("meshup_refusals_total", "Responses that the host made, and connections and streams it ended");
    describe_counter!("meshup_proxy_protocol_errors_total", "Connections closed for want of a PROXY protocol header");
    describe_counter!("meshup_requests_aborted_total", "Requests that did not end with a whole response");
    describe_histogram!("meshup_request_duration_seconds", Unit::Seconds, "From the request head to the last byte");
    describe_counter!("meshup_upstream_requests_total", "Requests sent, by upstream and by status or error");
    describe_counter!("meshup_filter_calls_total", "Events handed to a filter");
    describe_counter!("meshup_filter_faults_total", "Faults of a filter, by kind");
    describe_histogram!("meshup_filter_duration_seconds", Unit::Seconds, "Time of one call of a filter, sampled");
    describe_counter!(
        "meshup_log_lines_dropped_total",
        "Log lines lost: nobody took them, or standard error refused them"
    );
    describe_counter!("meshup_reloads_total", "Reloads, by result");
    describe_counter!("meshup_dns_lookups_total", "Look-ups of the names of endpoints, by name and result");
    describe_gauge!("meshup_filter_memory_bytes", Unit::Bytes, "Linear memory of all instances of filters");
    describe_gauge!("meshup_generation", "The configuration generation in service");
    describe_gauge!("meshup_connections_active", "Client connections");
    describe_counter!("meshup_tls_handshake_failures_total", "TLS handshakes of clients that failed");
    describe_counter!("meshup_accept_errors_total", "Times that descriptors or memory were used up at an accept");
}

/// Counts a request whose framing could be read in two ways.
pub(crate) fn count_ambiguous_request() {
    metrics::counter!("meshup_requests_ambiguous_total").increment(1);
}

/// Counts a connection that did not begin with a PROXY protocol header.
pub(crate) fn count_proxy_protocol_error() {
    metrics::counter!("meshup_proxy_protocol_errors_total").increment(1);
}

/// Counts a reload: `ok`, `error` or `unchanged`.
pub(crate) fn count_reload(result: &'static str) {
    metrics::counter!("meshup_reloads_total", "result" => result).increment(1);
}

/// Counts a look-up of a name: `ok`, or why it failed.
pub(crate) fn count_lookup(name: &Endpoint, result: &'static str) {
    metrics::counter!("meshup_dns_lookups_total", "name" => name.to_string(), "result" => result).increment(1);
}

/// Notes the generation in service.
pub(crate) fn set_generation(generation: u64) {
    metrics::gauge!("meshup_generation").set(generation as f64);
}
