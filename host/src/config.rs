//! What the configuration means: checked, complete, with every default filled in.
//!
//! [`parse`] walks the TOML text with its positions and collects every fault as a [`Diagnostic`]; only a text without
//! faults becomes a [`Config`]. Nothing here opens a socket or loads a module. Every key is described in `CONFIG.md`.
//!
//! **Invariant:** a `Config` is consistent: every name it refers to exists in it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

mod diagnostic;
mod dns;
mod document;
mod effective;
mod endpoint;
mod filter;
mod json;
mod keys;
mod listener;
mod matching;
mod network;
mod raw;
mod route;
mod secret;
mod suggest;
mod tls;
mod upstream;
mod value;
mod via;

pub use diagnostic::{Diagnostic, Diagnostics, Location};
pub use document::{parse, read};
pub(crate) use document::{parse_whole, read_whole};
pub use effective::effective;
pub use network::Network;
pub(crate) use network::trusts;
pub use tls::{
    ClientAuth, ClientCertificates, KeyPair, ListenerTls, PairLocation, TlsLocation, TlsVersion, UpstreamTls,
};
pub use via::Via;

/// Where in the text the parts stand that only later steps can judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locations {
    /// The admin listener's address, or the file when it has none.
    pub admin: Location,
    /// In the order of [`Config::listeners`].
    pub listeners: Vec<ListenerLocation>,
    /// By filter name; exactly the names of [`Config::filters`].
    pub filters: BTreeMap<Arc<str>, FilterLocation>,
    /// By upstream name; those that have `tls`.
    pub upstream_tls: BTreeMap<Arc<str>, TlsLocation>,
}

/// Where a listener's address and files stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLocation {
    /// The value of `listen`.
    pub address: Location,
    /// `tls`, if it has it.
    pub tls: Option<TlsLocation>,
}

/// A configuration with faults.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// What is wrong.
    pub faults: Diagnostics,
    /// The parts that nothing is wrong with so far; they may refer to others.
    pub sound: Option<(Config, Locations)>,
}

impl Rejected {
    /// Nothing of it can be used.
    fn whole(faults: Diagnostics) -> Box<Self> {
        Box::new(Self { faults, sound: None })
    }
}

/// Where a filter's module and `config` stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterLocation {
    /// The value of `module`.
    pub module: Location,
    /// The key `config`, or the filter's table when it has none.
    pub config: Location,
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Worker threads.
    pub workers: usize,
    /// The admin listener.
    pub admin: Admin,
    /// How names become addresses.
    pub dns: Dns,
    /// How a shutdown goes.
    pub drain: Drain,
    /// `filter_memory`: linear memory of all instances of filters together, bytes. Default: no limit.
    pub filter_memory: Option<usize>,
    /// Where traffic comes in.
    pub listeners: Vec<Listener>,
    /// Filters by name.
    pub filters: BTreeMap<Arc<str>, Filter>,
    /// Routes, first match wins.
    pub routes: Vec<Route>,
    /// Upstreams by name.
    pub upstreams: BTreeMap<Arc<str>, Upstream>,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: default `127.0.0.1:9901`.
    pub listen: SocketAddr,
}

/// `[dns]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// `servers`: who is asked; those of `/etc/resolv.conf` when empty.
    pub servers: Vec<SocketAddr>,
    /// `timeout`: a whole look-up; a question is repeated within it. Default 5 s.
    pub timeout: Duration,
    /// `prefer`: default both.
    pub prefer: Families,
}

/// `prefer`: which of a name's addresses are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// All.
    Both,
    /// Those of IPv4; where there are none, those of IPv6.
    Ipv4,
    /// Those of IPv6; where there are none, those of IPv4.
    Ipv6,
}

/// `drain_delay`, `drain_timeout`, `drain_idle_grace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// From SIGTERM (readiness fails) until the listeners close. Default 0 s.
    pub delay: Duration,
    /// From SIGTERM until the process ends whatever is still running. Default 30 s.
    pub timeout: Duration,
    /// For how long an HTTP/1 connection that is to end may be without a request. Default 5 s, at most `timeout`.
    pub idle_grace: Duration,
}

/// `[[listeners]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `name`: unique.
    pub name: Arc<str>,
    /// `listen`: unique.
    pub listen: SocketAddr,
    /// `transparent`: its connections were redirected here and are asked where they were meant to go. Default false.
    pub transparent: bool,
    /// `forwarded_headers`: what happens to the client's `X-Forwarded-*`.
    pub forwarded_headers: ForwardedHeaders,
    /// `trusted_proxies`: whose `X-Forwarded-For` counts; empty: whoever connects is taken for what
    /// `forwarded_headers` says.
    pub trusted_proxies: Vec<Network>,
    /// `proxy_protocol`: every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// `path_normalization`: which form of a path matches and is forwarded.
    pub path_normalization: PathNormalization,
    /// `underscores_in_headers`: what happens to header fields with `_` in their names.
    pub underscores: Underscores,
    /// `via`: the name to add to `Via`; none adds nothing.
    pub via: Option<Arc<Via>>,
    /// `limits`
    pub limits: ListenerLimits,
    /// `tls`; clear text without it.
    pub tls: Option<ListenerTls>,
}

/// `path_normalization`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathNormalization {
    /// `"strict"` (default): one normal form; what readers disagree about is refused.
    Strict,
    /// `"relaxed"`: the same, but encoded slashes and backslashes stay encoded, `//` stays, and encoded bytes need not be
    /// UTF-8.
    Relaxed,
    /// `"off"`: the path stays as the client wrote it.
    Off,
}

/// `underscores_in_headers`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// `"drop"` (default): the fields go no further.
    Drop,
    /// `"reject"`: the request is refused.
    Reject,
    /// `"allow"`: they are fields as any other.
    Allow,
}

/// `forwarded_headers`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// `"replace"` (default): the client is not trusted; its headers are overwritten.
    Replace,
    /// `"append"`: the client is a trusted proxy; its `X-Forwarded-For` is extended, `-Proto` and `-Host` are kept.
    Append,
}

/// `limits` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `max_header_bytes`: a whole request head. Default 64 KiB, at least 8 KiB.
    pub max_header_bytes: usize,
    /// `max_headers`: header fields in a request. Default 100.
    pub max_headers: usize,
    /// `max_body_bytes`: a request body; none by default.
    pub max_body_bytes: Option<u64>,
    /// `header_timeout`: from the first byte (or accept) to the whole head. Default 10 s.
    pub header_timeout: Duration,
    /// `idle_timeout`: a kept-alive connection between requests. Default 75 s.
    pub idle_timeout: Duration,
    /// `body_timeout`: until the next part of a request body, before there is a response. Default 30 s.
    pub body_timeout: Duration,
    /// `request_timeout`: until the end of a request body, before there is a response. Default 1 h.
    pub request_timeout: Duration,
    /// `write_timeout`: until the client takes the next part of a response. Default 60 s.
    pub write_timeout: Duration,
    /// `max_connections`: open at a time, over all workers. Default 10,000.
    pub max_connections: usize,
    /// `max_streams`: requests under way on one HTTP/2 connection. Default 100.
    pub max_streams: u32,
    /// `max_resets`: streams of an HTTP/2 connection that broke the protocol. Default 200.
    pub max_resets: usize,
    /// `max_control_frames`: frames of an HTTP/2 connection that carry no work, in a burst. Default 10,000.
    pub max_control_frames: u32,
    /// `http1_buffer`: bytes read and written ahead on an HTTP/1 connection, beyond a request head. Default 64 KiB.
    pub http1_buffer: usize,
    /// `http2_stream_window`: unread body bytes of one HTTP/2 request. Default 256 KiB.
    pub http2_stream_window: u32,
    /// `http2_connection_window`: unread body bytes of all requests of an HTTP/2 connection. Default 1 MiB.
    pub http2_connection_window: u32,
    /// `http2_send_buffer`: response bytes handed to one HTTP/2 stream that its client has not taken. Default 32 KiB.
    pub http2_send_buffer: usize,
    /// `http2_connection_heads`: request heads of an HTTP/2 connection that wait for their responses. Default 1.5 MiB.
    pub http2_connection_heads: usize,
}

/// `[filters.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// `module`
    pub module: ModuleSource,
    /// `on_error`: default deny.
    pub on_error: OnError,
    /// `isolation`: default worker.
    pub isolation: Isolation,
    /// `limits`
    pub limits: FilterLimits,
    /// `config`, as compact JSON; `{}` when absent.
    pub config: Arc<str>,
}

/// Where a filter's module comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModuleSource {
    /// `builtin:NAME`
    Builtin(String),
    /// A path; relative ones are already joined to the configuration file's folder.
    File(PathBuf),
}

/// What an exchange gets when a filter faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnError {
    /// 503.
    Deny,
    /// As if the filter were not there.
    Bypass,
}

/// How many exchanges share an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// All exchanges of a worker.
    Worker,
    /// One.
    Exchange,
}

/// `limits` of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilterLimits {
    /// `memory`: linear memory of one instance, bytes. Default 16 MiB.
    pub memory_bytes: usize,
    /// `cpu_per_call`: CPU time of one guest call. Default 10 ms.
    pub cpu_per_call: Duration,
}

/// `[[routes]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `name`: unique; default `route-N`, counted from 1.
    pub name: Arc<str>,
    /// `match`: all of it must hold; empty matches everything.
    pub matches: RouteMatch,
    /// `filters`: names, outermost first.
    pub filters: Vec<Arc<str>>,
    /// `upstream`: at least one; a single one has weight 1.
    pub upstreams: Vec<WeightedUpstream>,
    /// `timeout` of the whole exchange; none by default.
    pub timeout: Option<Duration>,
    /// `replay_limit`: request body bytes kept for another Run. Default 64 KiB.
    pub replay_limit: usize,
    /// `upgrades`: protocols that clients may switch to, lower case. Default websocket.
    pub upgrades: Vec<Arc<str>>,
    /// `upgrade_idle_timeout`: for how long nothing may move after an upgrade. Default 5 min.
    pub upgrade_idle_timeout: Duration,
}

/// `match`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteMatch {
    /// `listener`: a listener's name.
    pub listener: Option<Arc<str>>,
    /// `host`: one pattern or a list.
    pub hosts: Vec<HostMatch>,
    /// `path`: the whole path.
    pub path: Option<String>,
    /// `path_prefix`: whole segments: `/v1` matches `/v1` and `/v1/x`, not `/v10`.
    pub path_prefix: Option<String>,
    /// `methods`; empty matches all.
    pub methods: Vec<http::Method>,
    /// `headers`: name to exact value.
    pub headers: Vec<(http::HeaderName, String)>,
    /// `query`: parameter to exact value.
    pub query: Vec<(String, String)>,
}

/// A host pattern; lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    /// `orders.example`
    Exact(String),
    /// `*.example`: the stored text is `.example`; at least one label must stand before it.
    Suffix(String),
}

/// An upstream and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedUpstream {
    /// The upstream's name.
    pub name: Arc<str>,
    /// Its share: weight / sum of weights. 0 gets nothing.
    pub weight: u32,
}

/// `[upstreams.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `endpoints`: at least one, but none with [`original_destination`](Self::original_destination).
    pub endpoints: Vec<Endpoint>,
    /// `endpoints = "original_destination"`: where the client's connection was meant to go.
    pub original_destination: bool,
    /// `load_balancing`: default least_request.
    pub load_balancing: LoadBalancing,
    /// `protocol`: default http1.
    pub protocol: Protocol,
    /// `connect_timeout`: default 1 s.
    pub connect_timeout: Duration,
    /// `response_timeout`: from the request's dispatch to the response head. Default 60 s.
    pub response_timeout: Duration,
    /// `idle_timeout`: a pooled connection without a request. Default 60 s.
    pub idle_timeout: Duration,
    /// `max_connections` per endpoint, divided among the workers, rounded up. Default 1024.
    pub max_connections: usize,
    /// `tls`; clear text without it.
    pub tls: Option<UpstreamTls>,
}

/// An item of `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `127.0.0.1:9000`
    Address(SocketAddr),
    /// `orders.internal:9000`: every address of the host.
    Host {
        /// The host, in lower case.
        name: Arc<str>,
        /// The port.
        port: u16,
    },
    /// `srv:_http._tcp.orders.internal`: the hosts and ports that the service's SRV records name.
    Service(Arc<str>),
}

/// `load_balancing`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancing {
    /// In turn.
    RoundRobin,
    /// The less busy of two random endpoints.
    LeastRequest,
    /// At random.
    Random,
}

/// `protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2: with prior knowledge, or by ALPN where there is TLS.
    Http2,
}
