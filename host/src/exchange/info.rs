//! What is known about one exchange apart from its messages: the attributes and variables that filters see.
//!
//! **Invariant:** owned by exactly one side at a time: the exchange, or the filter instance during a call.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::Version;

use super::TlsSession;

/// The attributes and variables of an exchange.
#[derive(Debug)]
pub struct ExchangeInfo {
    /// The client's address.
    pub client: SocketAddr,
    /// The address the client reached.
    pub local: SocketAddr,
    /// The client's TLS; none when it came in clear text.
    pub tls: Option<Arc<TlsSession>>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The route's name.
    pub route: Arc<str>,
    /// The path prefix among the route's conditions.
    pub route_prefix: Option<Arc<str>>,
    /// The upstream chosen, once one is.
    pub upstream: Option<Arc<str>>,
    /// The endpoint last used.
    pub endpoint: Option<SocketAddr>,
    /// The client's `x-request-id`, where valid; otherwise made when a filter first asks.
    pub request_id: Option<Box<str>>,
    /// The client's protocol.
    pub protocol: Version,
    /// When the request head arrived.
    pub started: Instant,
    /// The same on the wall clock.
    pub started_at: SystemTime,
    /// The configuration generation.
    pub generation: u64,
    /// How often the request was sent to an upstream.
    pub attempts: u32,
    /// What filters left for later filters and for the access log, in order of first setting.
    pub variables: Variables,
}

/// Named values of an exchange, few and small.
#[derive(Debug, Default)]
pub struct Variables {
    entries: Vec<(Box<str>, Box<[u8]>)>,
    bytes: usize,
}

impl Variables {
    /// The most bytes, names and values, that one exchange may hold.
    pub const MAX_BYTES: usize = 16 * 1024;
    /// The most variables that one exchange may hold: each is looked for among all.
    pub const MAX_ENTRIES: usize = 256;

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.entries.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
    }

    /// Sets `name`; false when the exchange's quota is used up, and then nothing changed.
    #[must_use]
    pub fn set(&mut self, name: &str, value: &[u8]) -> bool {
        let existing = self.entries.iter().position(|(key, _)| **key == *name);
        let freed = existing.and_then(|at| self.entries.get(at)).map_or(0, |(key, value)| key.len() + value.len());
        let bytes = self.bytes - freed + name.len() + value.len();
        let is_one_too_many = existing.is_none() && self.entries.len() >= Self::MAX_ENTRIES;
        if bytes > Self::MAX_BYTES || is_one_too_many {
            return false;
        }
        self.bytes = bytes;
        match existing.and_then(|at| self.entries.get_mut(at)) {
            Some((_, slot)) => *slot = value.into(),
            None => self.entries.push((name.into(), value.into())),
        }
        true
    }

    /// Every name and value, in order of first setting.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }
}
