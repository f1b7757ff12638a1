//! `[dns]`.

use std::{net::SocketAddr, time::Duration};

use super::{
    Dns, Families, endpoint, keys,
    raw::{Fault, Table, Value},
    value::{duration_within, one_of},
};

/// `[dns]`: by default the system's own configuration is used.
pub(super) fn dns(root: &Table<'_>) -> Dns {
    let table = root.get("dns").and_then(|value| value.table(&keys::DNS));
    let Some(table) = table else { return Dns::default() };
    let default = Dns::default();
    Dns {
        servers: table.get("servers").map(|value| servers(&value)).unwrap_or_default(),
        timeout: table.read("timeout", timeout).unwrap_or(default.timeout),
        prefer: table.read("prefer", prefer).unwrap_or(default.prefer),
    }
}

fn servers(value: &Value<'_>) -> Vec<SocketAddr> {
    let items = value.items("a list such as `[\"10.0.0.53:53\"]`");
    if items.is_empty() && value.inner().is_array() {
        value.report(
            Fault::new("at least one name server is required").help("without `servers` the system's are asked"),
        );
    }
    items.iter().filter_map(|item| item.read(endpoint::address)).collect()
}

fn timeout(value: &Value<'_>) -> Result<Duration, Fault> {
    duration_within(value, Duration::from_millis(10)..=Duration::from_secs(60))
}

fn prefer(value: &Value<'_>) -> Result<Families, Fault> {
    one_of(value, &[("both", Families::Both), ("ipv4", Families::Ipv4), ("ipv6", Families::Ipv6)])
}

impl Default for Dns {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(5), prefer: Families::Both }
    }
}
