//! `[upstreams.NAME]`.
//!
//! **Invariant:** an upstream has at least one endpoint and none twice, or takes connections where they were meant to go.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    LoadBalancing, Protocol, TlsLocation, Upstream, keys,
    raw::{Fault, Table, Value},
    tls,
    value::{check_name, count, duration, endpoint, one_of},
};

/// As `endpoints`: the place where the client's connection was meant to go.
pub(super) const ORIGINAL_DESTINATION: &str = "original_destination";

type TlsLocations = BTreeMap<Arc<str>, TlsLocation>;

/// `[upstreams]`. Original destinations are known where some listener is `transparent`.
pub(super) fn upstreams(root: &Table<'_>, transparent: bool) -> (BTreeMap<Arc<str>, Upstream>, TlsLocations) {
    let table = root.get("upstreams").and_then(|value| value.open());
    let (mut upstreams, mut locations) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in table.map(|table| table.entries()).unwrap_or_default() {
        check_name(key.name).unwrap_or_else(|fault| key.report(fault));
        if let Some(table) = value.table(&keys::UPSTREAM) {
            let (upstream, location) = upstream(&table, transparent);
            upstreams.insert(key.name.into(), upstream);
            locations.extend(location.map(|location| (key.name.into(), location)));
        }
    }
    (upstreams, locations)
}

fn upstream(table: &Table<'_>, transparent: bool) -> (Upstream, Option<TlsLocation>) {
    let (tls, tls_location) = tls::upstream(table).unzip();
    let timeout = |key, default| table.read(key, duration).unwrap_or(Duration::from_secs(default));
    let listed = table.required("endpoints");
    let original_destination = listed.as_ref().is_some_and(is_original_destination);
    let upstream = Upstream {
        endpoints: listed.map(|value| endpoints(&value, transparent)).unwrap_or_default(),
        original_destination,
        load_balancing: table.read("load_balancing", load_balancing).unwrap_or(LoadBalancing::LeastRequest),
        protocol: table.read("protocol", protocol).unwrap_or(Protocol::Http1),
        connect_timeout: timeout("connect_timeout", 1),
        response_timeout: timeout("response_timeout", 60),
        idle_timeout: timeout("idle_timeout", 60),
        max_connections: table.read("max_connections", |value| count(value, 1..=1_000_000)).unwrap_or(1024),
        tls,
    };
    (upstream, tls_location)
}

fn endpoints(value: &Value<'_>, transparent: bool) -> Vec<SocketAddr> {
    if is_original_destination(value) {
        if !transparent {
            let unknown = Fault::new("no listener is `transparent`: nothing knows an original destination");
            value.report(unknown.help("add `transparent = true` to a listener"));
        }
        return Vec::new();
    }
    let items = value.items("a list such as `[\"127.0.0.1:9000\"]`, or `\"original_destination\"`");
    if items.is_empty() && value.inner().is_array() {
        value.report(Fault::new("at least one endpoint is required"));
    }
    let mut endpoints = Vec::new();
    for item in &items {
        let Some(address) = item.read(endpoint) else { continue };
        if endpoints.contains(&address) {
            item.report(Fault::new(format!("endpoint `{address}` is listed twice")));
        }
        endpoints.push(address);
    }
    endpoints
}

fn is_original_destination(value: &Value<'_>) -> bool {
    value.inner().as_str() == Some(ORIGINAL_DESTINATION)
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
