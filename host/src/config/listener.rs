//! `[[listeners]]` and `[admin]`.
//!
//! **Invariant:** no two listeners have the same name or the same address (port 0 is never the same).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Admin, ForwardedHeaders, Listener, ListenerLimits, ListenerLocation, Location, Network, PathNormalization,
    Underscores, Via, keys,
    network::network,
    raw::{Fault, Table, Value},
    tls,
    value::{boolean, count, duration, listen_address, name, one_of, size, size_in_memory},
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Below this hyper's HTTP/1 parser has no room for its own buffer.
const MIN_HEADER_BYTES: u64 = 8 * KIB;
/// The HTTP/1 library takes no less.
const MIN_BUFFER: u64 = 8 * KIB;
/// A browser's first request brings about ten.
const MIN_CONTROL_FRAMES: u64 = 100;
/// HTTP/2 begins with about as much and cannot take it back (RFC 9113 section 6.9.2).
const MIN_CONNECTION_WINDOW: u64 = 64 * KIB;
/// HTTP/2 has windows up to 2 GiB - 1 (RFC 9113 section 6.9.1).
const MAX_WINDOW: u64 = 1024 * MIB;

/// `[admin]`, and where its address stands.
pub(super) fn admin(root: &Table<'_>) -> (Admin, Location) {
    let table = root.get("admin").and_then(|value| value.table(&keys::ADMIN));
    let value = table.and_then(|table| table.get("listen"));
    let location = value.as_ref().map_or_else(|| root.file_location(), Value::location);
    let listen = value.and_then(|value| value.read(listen_address));
    (Admin { listen: listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9901))) }, location)
}

/// `[[listeners]]`: at least one, and where their addresses stand. `admin` listens too.
pub(super) fn listeners(root: &Table<'_>, admin: &Admin) -> (Vec<Listener>, Vec<ListenerLocation>) {
    let Some(value) = root.required("listeners") else { return Default::default() };
    let items = value.items("a list of tables: `[[listeners]]`");
    if items.is_empty() && value.inner().is_array() {
        value.report(Fault::new("at least one listener is required"));
    }
    let mut taken = Taken { names: Vec::new(), addresses: vec![admin.listen] };
    items.iter().filter_map(|item| listener(&item.table(&keys::LISTENER)?, &mut taken)).unzip()
}

/// What earlier listeners have.
struct Taken<'a> {
    names: Vec<&'a str>,
    addresses: Vec<SocketAddr>,
}

impl<'a> Taken<'a> {
    fn name(&mut self, value: &Value<'a>) -> Result<Arc<str>, Fault> {
        let name = name(value)?;
        if self.names.contains(&name) {
            return Err(Fault::new(format!("there is already a listener `{name}`")));
        }
        self.names.push(name);
        Ok(name.into())
    }

    fn address(&mut self, value: &Value<'_>) -> Result<SocketAddr, Fault> {
        let address = listen_address(value)?;
        if address.port() != 0 && self.addresses.contains(&address) {
            return Err(Fault::new(format!("`{address}` is already the address of another listener or of `admin`")));
        }
        self.addresses.push(address);
        Ok(address)
    }
}

fn listener<'a>(table: &Table<'a>, taken: &mut Taken<'a>) -> Option<(Listener, ListenerLocation)> {
    let forwarded_headers = table.read("forwarded_headers", |value| {
        one_of(value, &[("replace", ForwardedHeaders::Replace), ("append", ForwardedHeaders::Append)])
    });
    let path_normalization = table.read("path_normalization", path_normalization);
    let underscores = table.read("underscores_in_headers", underscores);
    let limits = limits(table);
    let (tls, tls_location) = tls::listener(table).unzip();
    let proxy_protocol = table.read("proxy_protocol", boolean);
    let forwarded_headers = forwarded_headers.unwrap_or(ForwardedHeaders::Replace);
    let trusted_proxies = table.get("trusted_proxies").map(|value| networks(&value, forwarded_headers));
    let name = table.required("name").and_then(|value| value.read(|value| taken.name(value)));
    let address = table.required("listen")?;
    let listen = address.read(|value| taken.address(value));
    let listener = Listener {
        name: name?,
        listen: listen?,
        transparent: table.read("transparent", boolean).unwrap_or(false),
        forwarded_headers,
        trusted_proxies: trusted_proxies.unwrap_or_default(),
        proxy_protocol: proxy_protocol.unwrap_or(false),
        path_normalization: path_normalization.unwrap_or(PathNormalization::Strict),
        underscores: underscores.unwrap_or(Underscores::Drop),
        via: table.read("via", |value| Via::new(value.text("a name")?).map(Arc::new)),
        limits,
        tls,
    };
    Some((listener, ListenerLocation { address: address.location(), tls: tls_location }))
}

fn networks(value: &Value<'_>, policy: ForwardedHeaders) -> Vec<Network> {
    let items = value.items("a list of networks");
    if !items.is_empty() && policy == ForwardedHeaders::Replace {
        let needs = Fault::new("without `forwarded_headers = \"append\"` no proxy is trusted");
        value.report(needs.help("add `forwarded_headers = \"append\"`"));
    }
    items.iter().filter_map(|item| item.read(network)).collect()
}

fn path_normalization(value: &Value<'_>) -> Result<PathNormalization, Fault> {
    let words = [
        ("strict", PathNormalization::Strict),
        ("relaxed", PathNormalization::Relaxed),
        ("off", PathNormalization::Off),
    ];
    one_of(value, &words)
}

fn underscores(value: &Value<'_>) -> Result<Underscores, Fault> {
    one_of(value, &[("drop", Underscores::Drop), ("reject", Underscores::Reject), ("allow", Underscores::Allow)])
}

fn limits(listener: &Table<'_>) -> ListenerLimits {
    let table = listener.get("limits").and_then(|value| value.table(&keys::LISTENER_LIMITS));
    let Some(table) = table else { return ListenerLimits::default() };
    let default = ListenerLimits::default();
    let max_header_bytes = table.read("max_header_bytes", |value| size_in_memory(value, MIN_HEADER_BYTES..=16 * MIB));
    let number = |key, max| table.read(key, |value| count(value, 1..=max));
    let max_headers = number("max_headers", 4096);
    let bytes = |key, allowed| table.read(key, |value| size_in_memory(value, allowed));
    let window = |key, allowed, default| bytes(key, allowed).map_or(default, |bytes| bytes as u32);
    ListenerLimits {
        max_header_bytes: max_header_bytes.unwrap_or(default.max_header_bytes),
        max_headers: max_headers.unwrap_or(default.max_headers),
        max_body_bytes: table.read("max_body_bytes", |value| size(value, 0..=i64::MAX.unsigned_abs())),
        header_timeout: table.read("header_timeout", duration).unwrap_or(default.header_timeout),
        idle_timeout: table.read("idle_timeout", duration).unwrap_or(default.idle_timeout),
        body_timeout: table.read("body_timeout", duration).unwrap_or(default.body_timeout),
        request_timeout: table.read("request_timeout", duration).unwrap_or(default.request_timeout),
        write_timeout: table.read("write_timeout", duration).unwrap_or(default.write_timeout),
        max_connections: number("max_connections", 1_000_000).unwrap_or(default.max_connections),
        max_streams: number("max_streams", 10_000).map_or(default.max_streams, |streams| streams as u32),
        max_resets: number("max_resets", 1_000_000).unwrap_or(default.max_resets),
        max_control_frames: table
            .read("max_control_frames", |value| count(value, MIN_CONTROL_FRAMES..=1_000_000))
            .map_or(default.max_control_frames, |frames| frames as u32),
        http1_buffer: bytes("http1_buffer", MIN_BUFFER..=16 * MIB).unwrap_or(default.http1_buffer),
        http2_stream_window: window("http2_stream_window", MIN_BUFFER..=MAX_WINDOW, default.http2_stream_window),
        http2_connection_window: window(
            "http2_connection_window",
            MIN_CONNECTION_WINDOW..=MAX_WINDOW,
            default.http2_connection_window,
        ),
        http2_send_buffer: bytes("http2_send_buffer", MIN_BUFFER..=16 * MIB).unwrap_or(default.http2_send_buffer),
        http2_connection_heads: bytes("http2_connection_heads", MIN_BUFFER..=1024 * MIB)
            .unwrap_or(default.http2_connection_heads),
    }
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_body_bytes: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(3600),
            write_timeout: Duration::from_secs(60),
            max_connections: 10_000,
            max_streams: 100,
            max_resets: 200,
            max_control_frames: 10_000,
            http1_buffer: 64 * 1024,
            http2_stream_window: 256 * 1024,
            http2_connection_window: 1024 * 1024,
            http2_send_buffer: 32 * 1024,
            http2_connection_heads: 1536 * 1024,
        }
    }
}
