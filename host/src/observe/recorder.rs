//! The process's one metrics recorder, in Prometheus's form.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config::Endpoint;

/// Upper bounds of request durations, seconds.
const REQUEST_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds of the time in a filter, seconds.
const FILTER_SECONDS: &[f64] =
    &[2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1];
/// Upper bounds of sizes, bytes.
const BYTES: &[f64] = &[128.0, 512.0, 2048.0, 8192.0, 32768.0, 131_072.0, 1_048_576.0, 8_388_608.0, 67_108_864.0, 1e9];
/// Upper bounds of what filters record, without a unit that we know.
const ANY: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 1e3, 1e4, 1e5, 1e6,
];

/// The recorder, installed at the first call.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Full("meshup_request_duration_seconds".into()), REQUEST_SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Full("meshup_filter_duration_seconds".into()), FILTER_SECONDS)
            })
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), REQUEST_SECONDS))
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".into()), BYTES))
            .and_then(|builder| builder.set_buckets(ANY));
        let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
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
