//! `[upstreams.NAME]`.
//!
//! **Invariant:** an upstream has at least one endpoint and none twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Endpoint, LoadBalancing, Protocol, Upstream,
    endpoint::endpoint,
    keys,
    raw::{Fault, Table, Value},
    value::{check_name, count, duration, one_of},
};

/// `[upstreams]`
pub(super) fn upstreams(root: &Table<'_>) -> BTreeMap<Arc<str>, Upstream> {
    let table = root.get("upstreams").and_then(|value| value.open());
    let mut upstreams = BTreeMap::new();
    for (key, value) in table.map(|table| table.entries()).unwrap_or_default() {
        check_name(key.name).unwrap_or_else(|fault| key.report(fault));
        if let Some(table) = value.table(&keys::UPSTREAM) {
            upstreams.insert(key.name.into(), upstream(&table));
        }
    }
    upstreams
}

fn upstream(table: &Table<'_>) -> Upstream {
    table.refuse("tls", "TLS is");
    let timeout = |key, default| table.read(key, duration).unwrap_or(Duration::from_secs(default));
    Upstream {
        endpoints: table.required("endpoints").map(|value| endpoints(&value)).unwrap_or_default(),
        load_balancing: table.read("load_balancing", load_balancing).unwrap_or(LoadBalancing::LeastRequest),
        protocol: table.read("protocol", protocol).unwrap_or(Protocol::Http1),
        connect_timeout: timeout("connect_timeout", 1),
        response_timeout: timeout("response_timeout", 60),
        idle_timeout: timeout("idle_timeout", 60),
        max_connections: table.read("max_connections", |value| count(value, 1..=1_000_000)).unwrap_or(1024),
    }
}

fn endpoints(value: &Value<'_>) -> Vec<Endpoint> {
    let items = value.items("a list such as `[\"127.0.0.1:9000\"]`");
    if items.is_empty() && value.inner().is_array() {
        value.report(Fault::new("at least one endpoint is required"));
    }
    let mut endpoints = Vec::new();
    for item in &items {
        let Some(endpoint) = item.read(endpoint) else { continue };
        if endpoints.contains(&endpoint) {
            item.report(Fault::new(format!("endpoint `{endpoint}` is listed twice")));
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn load_balancing(value: &Value<'_>) -> Result<LoadBalancing, Fault> {
    let words = [
        ("round_robin", LoadBalancing::RoundRobin),
        ("least_request", LoadBalancing::LeastRequest),
        ("random", LoadBalancing::Random),
    ];
    one_of(value, &words)
}

fn protocol(value: &Value<'_>) -> Result<Protocol, Fault> {
    one_of(value, &[("http1", Protocol::Http1), ("http2", Protocol::Http2)])
}
