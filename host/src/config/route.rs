//! `[[routes]]`, without what they match (see [`matching`]).
//!
//! **Invariant:** a route names only filters, upstreams and listeners that exist, and some upstream gets a share.

use std::{sync::Arc, time::Duration};

use super::{
    Route, WeightedUpstream, keys, matching,
    raw::{Fault, Table, Value},
    value::{duration, integer, name, reference, size_in_memory},
};

/// `replay_limit`
const REPLAY_LIMIT: usize = 64 * 1024;
const MAX_REPLAY_LIMIT: u64 = 1 << 30;
/// `upgrade_idle_timeout`
const UPGRADE_IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The sum of a route's weights must fit in 32 bits.
const MAX_WEIGHT: u64 = 1_000_000;

/// What a route may refer to.
pub(super) struct Names<'a> {
    pub(super) listeners: Vec<&'a str>,
    pub(super) filters: Vec<&'a str>,
    pub(super) upstreams: Vec<&'a str>,
}

/// `[[routes]]`
pub(super) fn routes(root: &Table<'_>, names: &Names<'_>) -> Vec<Route> {
    let Some(value) = root.get("routes") else { return Vec::new() };
    let mut routes: Vec<Route> = Vec::new();
    for (n, item) in value.items("a list of tables: `[[routes]]`").iter().enumerate() {
        let Some(table) = item.table(&keys::ROUTE) else { continue };
        let route = route(&table, n, names);
        if routes.iter().any(|other| other.name == route.name) {
            let at = table.get("name").unwrap_or_else(|| item.clone());
            at.report(Fault::new(format!("there is already a route `{}`", route.name)));
        }
        routes.push(route);
    }
    routes
}

fn route(table: &Table<'_>, n: usize, names: &Names<'_>) -> Route {
    let name = table.read("name", name).map_or_else(|| format!("route-{}", n + 1).into(), Arc::from);
    let matches = table.get("match").map(|value| matching::route_match(&value, &names.listeners));
    Route {
        name,
        matches: matches.unwrap_or_default(),
        filters: table.get("filters").map(|value| filters(&value, names)).unwrap_or_default(),
        upstreams: table.required("upstream").map(|value| upstreams(&value, names)).unwrap_or_default(),
        timeout: table.read("timeout", duration),
        replay_limit: table
            .read("replay_limit", |value| size_in_memory(value, 0..=MAX_REPLAY_LIMIT))
            .unwrap_or(REPLAY_LIMIT),
        upgrades: table.get("upgrades").map_or_else(|| vec!["websocket".into()], |value| upgrades(&value)),
        upgrade_idle_timeout: table.read("upgrade_idle_timeout", duration).unwrap_or(UPGRADE_IDLE_TIMEOUT),
    }
}

fn upgrades(value: &Value<'_>) -> Vec<Arc<str>> {
    value.items("a list of protocols such as `\"websocket\"`").iter().filter_map(|item| item.read(protocol)).collect()
}

/// The name of a protocol, and perhaps its version (RFC 9110 section 7.8).
fn protocol(value: &Value<'_>) -> Result<Arc<str>, Fault> {
    let name = value.text("a protocol such as `\"websocket\"`")?.to_ascii_lowercase();
    let words = || name.splitn(2, '/');
    if !words().all(|word| meshup_abi::headers::is_name(word.as_bytes())) {
        let shown = name.escape_debug();
        return Err(Fault::new(format!("`{shown}` is not a protocol")).help("for example `\"websocket\"`"));
    }
    if matches!(words().next(), Some("h2c" | "h2" | "http" | "tls")) {
        let help = "HTTP/2 without TLS needs no upgrade: clients begin with it";
        return Err(Fault::new(format!("an upgrade to `{name}` is never made")).help(help));
    }
    Ok(name.into())
}

fn filters(value: &Value<'_>, names: &Names<'_>) -> Vec<Arc<str>> {
    let items = value.items("a list of filter names");
    let known = |item: &Value<'_>| item.read(|item| reference(item, "filter", &names.filters)).map(Arc::from);
    items.iter().filter_map(known).collect()
}

fn upstreams(value: &Value<'_>, names: &Names<'_>) -> Vec<WeightedUpstream> {
    if value.inner().is_str() {
        let name = value.read(|value| reference(value, "upstream", &names.upstreams));
        return name.map(|name| WeightedUpstream { name: name.into(), weight: 1 }).into_iter().collect();
    }
    let items = value.items("an upstream's name or a list of `{ name = \"...\", weight = 1 }`");
    let mut shares: Vec<WeightedUpstream> = Vec::new();
    for item in &items {
        let Some(share) = item.table(&keys::WEIGHTED).and_then(|table| share(&table, names)) else { continue };
        if shares.iter().any(|other| other.name == share.name) {
            item.report(Fault::new(format!("upstream `{}` is listed twice", share.name)));
        }
        shares.push(share);
    }
    check_shares(value, &shares, items.len());
    shares
}

fn check_shares(value: &Value<'_>, shares: &[WeightedUpstream], listed: usize) {
    let sum: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    if listed == 0 && value.inner().is_array() {
        value.report(Fault::new("at least one upstream is required"));
    } else if listed > 0 && listed == shares.len() && sum == 0 {
        value.report(Fault::new("all weights are 0").help("give at least one upstream a weight"));
    } else if sum > u64::from(u32::MAX) {
        value.report(Fault::new(format!("the weights sum up to `{sum}`")).help(format!("allowed: up to {}", u32::MAX)));
    }
}

fn share(table: &Table<'_>, names: &Names<'_>) -> Option<WeightedUpstream> {
    let name =
        table.required("name").and_then(|value| value.read(|value| reference(value, "upstream", &names.upstreams)));
    let weight = table.required("weight").and_then(|value| value.read(|value| integer(value, 0..=MAX_WEIGHT)));
    Some(WeightedUpstream { name: name?.into(), weight: u32::try_from(weight?).unwrap_or(u32::MAX) })
}
