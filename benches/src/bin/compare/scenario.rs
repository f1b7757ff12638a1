//! What the proxies are compared at.

use meshup_benches::{
    load::{Handshakes, Load, Tls},
    peers::{Filters, Protocol},
    work::Work,
};
use rustls::pki_types::CertificateDer;

/// One kind of work, done by every proxy that can.
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    pub(crate) down: Protocol,
    pub(crate) up: Protocol,
    pub(crate) tls: Option<Handshakes>,
    /// By which of its means a proxy does more than forward; a row for each that it has.
    pub(crate) filters: &'static [Filters],
    /// Whether each request has a connection of its own.
    pub(crate) reconnect: bool,
    pub(crate) idle: usize,
    /// Whether requests come at half the rate that the proxy can take, rather than as fast as it answers.
    pub(crate) half_load: bool,
}

/// The mildest of them; the others say what they have beyond it.
const PLAIN: Scenario = Scenario {
    name: "plain",
    title: "HTTP/1.1, 1 KiB responses",
    work: Work::Get,
    down: Protocol::Http1,
    up: Protocol::Http1,
    tls: None,
    filters: &[Filters::None],
    reconnect: false,
    idle: 0,
    half_load: false,
};

const ALL_FILTERS: &[Filters] = &[Filters::None, Filters::Directives, Filters::Lua, Filters::Wasm];

pub(crate) const SCENARIOS: [Scenario; 11] = [
    PLAIN,
    Scenario {
        name: "filters",
        title: "Check of a key, rewrite and telemetry, by each proxy's own means",
        filters: ALL_FILTERS,
        ..PLAIN
    },
    Scenario {
        name: "headers",
        title: "Three header filters in Wasm: 3 reads, 2 writes, 1 response header each",
        filters: &[Filters::None, Filters::Headers(3)],
        ..PLAIN
    },
    Scenario { name: "http2", title: "HTTP/2 to HTTP/1.1, 1 KiB responses", down: Protocol::Http2, ..PLAIN },
    Scenario {
        name: "grpc",
        title: "gRPC, unary calls of 64 bytes, HTTP/2 to HTTP/2",
        work: Work::Grpc,
        down: Protocol::Http2,
        up: Protocol::Http2,
        ..PLAIN
    },
    Scenario {
        name: "tls-full",
        title: "TLS 1.3, a full handshake for each request",
        tls: Some(Handshakes::Full),
        reconnect: true,
        ..PLAIN
    },
    Scenario {
        name: "tls-resumed",
        title: "TLS 1.3, a resumed handshake for each request",
        tls: Some(Handshakes::Resumed),
        reconnect: true,
        ..PLAIN
    },
    Scenario { name: "download", title: "Responses of 1 MiB", work: Work::Download, ..PLAIN },
    Scenario { name: "upload", title: "Requests of 1 MiB", work: Work::Upload, ..PLAIN },
    Scenario { name: "idle", title: "The first, beside 1,000 idle connections", idle: 1000, ..PLAIN },
    Scenario {
        name: "half-load",
        title: "Open loop at half of what each takes, without and with three filters",
        filters: ALL_FILTERS,
        half_load: true,
        ..PLAIN
    },
];

impl Scenario {
    /// The load, by clients that trust `certificate`; by so many of HTTP/1.1 if that is given.
    pub(crate) fn load(&self, certificate: &CertificateDer<'static>, http1: Option<usize>) -> Load {
        let (connections, streams) = match (self.down, self.work) {
            (Protocol::Http2, _) => (8, 8),
            (Protocol::Http1, _) if let Some(connections) = http1 => (connections, 1),
            (Protocol::Http1, Work::Download | Work::Upload) => (8, 1),
            (Protocol::Http1, _) if self.reconnect => (16, 1),
            (Protocol::Http1, _) => (64, 1),
        };
        Load {
            work: self.work,
            protocol: self.down,
            tls: self.tls.map(|handshakes| Tls { certificate: certificate.clone(), handshakes }),
            connections,
            streams,
            reconnect: self.reconnect,
            idle: self.idle,
            more_headers: 0,
        }
    }
}
