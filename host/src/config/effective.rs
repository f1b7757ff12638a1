//! A configuration as the admin listener shows it: in the notation of the file, every default filled in, secrets hidden.
//!
//! **Invariant:** every key that the file may have and that is in effect is shown, under the same name.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    ClientAuth, ClientCertificates, Config, Dns, Families, Filter, FilterLimits, ForwardedHeaders, HostMatch,
    Isolation, KeyPair, Listener, ListenerLimits, ListenerTls, LoadBalancing, ModuleSource, OnError, PathNormalization,
    Protocol, Route, RouteMatch, TlsVersion, Underscores, Upstream, UpstreamTls, WeightedUpstream, secret,
    upstream::ORIGINAL_DESTINATION,
    value::{duration_text, size_text},
};

/// The configuration in effect. What may be a secret reads `"<hidden>"`; `CONFIG.md` has the rule.
pub fn effective(config: &Config) -> Value {
    json!({
        "workers": config.workers,
        "drain_delay": duration_text(config.drain.delay),
        "drain_timeout": duration_text(config.drain.timeout),
        "drain_idle_grace": duration_text(config.drain.idle_grace),
        "filter_memory": config.filter_memory.map(|bytes| size_text(bytes as u64)),
        "admin": { "listen": config.admin.listen.to_string() },
        "dns": dns(&config.dns),
        "listeners": config.listeners.iter().map(listener).collect::<Value>(),
        "filters": by_name(&config.filters, filter),
        "routes": config.routes.iter().map(route).collect::<Value>(),
        "upstreams": by_name(&config.upstreams, upstream),
    })
}

/// No `servers` means the system's.
fn dns(dns: &Dns) -> Value {
    json!({
        "servers": (!dns.servers.is_empty()).then(|| dns.servers.iter().map(ToString::to_string).collect::<Value>()),
        "timeout": duration_text(dns.timeout),
        "prefer": match dns.prefer {
            Families::Both => "both",
            Families::Ipv4 => "ipv4",
            Families::Ipv6 => "ipv6",
        },
    })
}

fn by_name<T>(items: &BTreeMap<Arc<str>, T>, show: fn(&T) -> Value) -> Map<String, Value> {
    items.iter().map(|(name, item)| (name.to_string(), show(item))).collect()
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": &*listener.name,
        "listen": listener.listen.to_string(),
        "transparent": listener.transparent,
        "forwarded_headers": match listener.forwarded_headers {
            ForwardedHeaders::Replace => "replace",
            ForwardedHeaders::Append => "append",
        },
        "trusted_proxies": listener.trusted_proxies.iter().map(ToString::to_string).collect::<Value>(),
        "proxy_protocol": listener.proxy_protocol,
        "path_normalization": match listener.path_normalization {
            PathNormalization::Strict => "strict",
            PathNormalization::Relaxed => "relaxed",
            PathNormalization::Off => "off",
        },
        "underscores_in_headers": match listener.underscores {
            Underscores::Drop => "drop",
            Underscores::Reject => "reject",
            Underscores::Allow => "allow",
        },
        "via": listener.via.as_ref().map(|via| via.name()),
        "limits": listener_limits(&listener.limits),
        "tls": listener.tls.as_ref().map(listener_tls),
    })
}

fn listener_tls(tls: &ListenerTls) -> Value {
    let auth = |client: &ClientCertificates| match client.auth {
        ClientAuth::Required => "required",
        ClientAuth::Optional => "optional",
    };
    json!({
        "certificates": tls.certificates.iter().map(key_pair).collect::<Value>(),
        "min_version": match tls.min_version {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        },
        "client_ca": tls.client.as_ref().map(|client| client.ca.display().to_string()),
        "client_auth": tls.client.as_ref().map(auth),
    })
}

fn key_pair(pair: &KeyPair) -> Value {
    json!({ "certificate": pair.certificate.display().to_string(), "private_key": pair.private_key.display().to_string() })
}

fn listener_limits(limits: &ListenerLimits) -> Value {
    json!({
        "max_header_bytes": size_text(limits.max_header_bytes as u64),
        "max_headers": limits.max_headers,
        "max_body_bytes": limits.max_body_bytes.map(size_text),
        "header_timeout": duration_text(limits.header_timeout),
        "idle_timeout": duration_text(limits.idle_timeout),
        "body_timeout": duration_text(limits.body_timeout),
        "request_timeout": duration_text(limits.request_timeout),
        "write_timeout": duration_text(limits.write_timeout),
        "max_connections": limits.max_connections,
        "max_streams": limits.max_streams,
        "max_resets": limits.max_resets,
        "max_control_frames": limits.max_control_frames,
        "http1_buffer": size_text(limits.http1_buffer as u64),
        "http2_stream_window": size_text(limits.http2_stream_window.into()),
        "http2_connection_window": size_text(limits.http2_connection_window.into()),
        "http2_send_buffer": size_text(limits.http2_send_buffer as u64),
        "http2_connection_heads": size_text(limits.http2_connection_heads as u64),
    })
}

fn filter(filter: &Filter) -> Value {
    json!({
        "module": match &filter.module {
            ModuleSource::Builtin(name) => format!("builtin:{name}"),
            ModuleSource::File(path) => path.display().to_string(),
        },
        "on_error": match filter.on_error {
            OnError::Deny => "deny",
            OnError::Bypass => "bypass",
        },
        "isolation": match filter.isolation {
            Isolation::Worker => "worker",
            Isolation::Exchange => "exchange",
        },
        "limits": filter_limits(&filter.limits),
        "config": serde_json::from_str(&filter.config).map_or_else(|_| secret::HIDDEN.into(), secret::hide),
    })
}

fn filter_limits(limits: &FilterLimits) -> Value {
    json!({ "memory": size_text(limits.memory_bytes as u64), "cpu_per_call": duration_text(limits.cpu_per_call) })
}

fn route(route: &Route) -> Value {
    json!({
        "name": &*route.name,
        "match": route_match(&route.matches),
        "filters": route.filters.iter().map(|name| &**name).collect::<Value>(),
        "upstream": route.upstreams.iter().map(share).collect::<Value>(),
        "timeout": route.timeout.map(duration_text),
        "replay_limit": size_text(route.replay_limit as u64),
        "upgrades": route.upgrades.iter().map(|name| &**name).collect::<Value>(),
        "upgrade_idle_timeout": duration_text(route.upgrade_idle_timeout),
    })
}

fn share(share: &WeightedUpstream) -> Value {
    json!({ "name": &*share.name, "weight": share.weight })
}

/// Only what is matched: no key means that anything matches.
fn route_match(matches: &RouteMatch) -> Map<String, Value> {
    let listener = matches.listener.as_deref().map(Value::from);
    let hosts = (!matches.hosts.is_empty()).then(|| matches.hosts.iter().map(host).collect());
    let methods = (!matches.methods.is_empty()).then(|| matches.methods.iter().map(|method| method.as_str()).collect());
    let entries = [
        ("listener", listener),
        ("host", hosts),
        ("path", matches.path.as_deref().map(Value::from)),
        ("path_prefix", matches.path_prefix.as_deref().map(Value::from)),
        ("methods", methods),
        ("headers", pairs(matches.headers.iter().map(|(name, value)| (name.as_str(), value)))),
        ("query", pairs(matches.query.iter().map(|(name, value)| (name.as_str(), value)))),
    ];
    entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a String)>) -> Option<Value> {
    let table: Map<String, Value> = pairs.map(|(name, value)| (name.to_owned(), value.as_str().into())).collect();
    (!table.is_empty()).then(|| secret::hide(Value::Object(table)))
}

fn host(pattern: &HostMatch) -> Value {
    match pattern {
        HostMatch::Exact(host) => host.as_str().into(),
        HostMatch::Suffix(suffix) => format!("*{suffix}").into(),
    }
}

fn endpoints(upstream: &Upstream) -> Value {
    if upstream.original_destination {
        return ORIGINAL_DESTINATION.into();
    }
    upstream.endpoints.iter().map(|endpoint| Value::from(endpoint.to_string())).collect()
}

fn upstream(upstream: &Upstream) -> Value {
    json!({
        "endpoints": endpoints(upstream),
        "load_balancing": match upstream.load_balancing {
            LoadBalancing::RoundRobin => "round_robin",
            LoadBalancing::LeastRequest => "least_request",
            LoadBalancing::Random => "random",
        },
        "protocol": match upstream.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
        },
        "connect_timeout": duration_text(upstream.connect_timeout),
        "response_timeout": duration_text(upstream.response_timeout),
        "idle_timeout": duration_text(upstream.idle_timeout),
        "max_connections": upstream.max_connections,
        "tls": upstream.tls.as_ref().map(upstream_tls),
    })
}

fn upstream_tls(tls: &UpstreamTls) -> Value {
    let path = |path: &std::path::PathBuf| path.display().to_string();
    json!({
        "server_name": tls.server_name,
        "ca": tls.ca.as_ref().map(path),
        "certificate": tls.identity.as_ref().map(|pair| path(&pair.certificate)),
        "private_key": tls.identity.as_ref().map(|pair| path(&pair.private_key)),
    })
}
