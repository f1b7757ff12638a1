//! `[[routes]]`, without what they match (see [`matching`]).
//!
//! **Invariant:** a route names only filters, upstreams and listeners that exist, and some upstream gets a share.

use std::sync::Arc;

use super::{
    Route, WeightedUpstream, keys, matching,
    raw::{Fault, Table, Value},
    value::{duration, integer, name, reference, size_in_memory},
};

/// `replay_limit`
const REPLAY_LIMIT: usize = 64 * 1024;
const MAX_REPLAY_LIMIT: u64 = 1 << 30;
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
    }
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
