//! The proxies that take part, and the configuration that makes them do the same work.
//!
//! **Invariant:** no peer does less than meshup does by default.

use std::{net::SocketAddr, path::PathBuf};

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; in clear text, from the first byte on.
    Http2,
}

/// By which of its means a proxy does the work of the three filters: the check of a key, a rewrite, telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filters {
    /// It does none of it.
    None,
    /// By directives of its own.
    Directives,
    /// By Lua.
    Lua,
    /// By three Wasm filters.
    Wasm,
}

/// The files of a certificate, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub private_key: PathBuf,
}

/// What a proxy is to do.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it forwards to, in clear text.
    pub origin: SocketAddr,
    /// What clients speak; with TLS they ask for it by ALPN.
    pub down: Protocol,
    /// What the origin speaks.
    pub up: Protocol,
    /// With it, clients come by TLS.
    pub tls: Option<Identity>,
    /// The work beside forwarding.
    pub filters: Filters,
    /// Threads that serve.
    pub workers: usize,
    /// An empty folder for its files.
    pub folder: PathBuf,
}
