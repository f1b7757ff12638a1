//! What is known about one exchange apart from its messages: the attributes and variables that filters see.
//!
//! **Invariant:** owned by exactly one side at a time: the exchange, or the filter instance during a call.

use std::{
    net::SocketAddr,
    ops::Range,
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
    /// The same on the wall clock, once a filter has asked.
    pub started_at: Option<SystemTime>,
    /// The configuration generation.
    pub generation: u64,
    /// How often the request was sent to an upstream.
    pub attempts: u32,
    /// What filters left for later filters and for the access log.
    pub variables: Variables,
}

/// Named values of an exchange, few and small: one behind the other in one block.
#[derive(Debug, Default)]
pub struct Variables {
    /// Of each the lengths of its name and of its value, and both.
    block: Vec<u8>,
    count: usize,
}

/// Two numbers of 16 bits.
const LENGTHS: usize = 4;
/// What the first variable makes room for: what filters leave is short.
const FIRST_BLOCK: usize = 128;

impl ExchangeInfo {
    /// When the request head arrived, on the wall clock: as it goes when a filter first asks.
    pub fn started_at(&mut self) -> SystemTime {
        *self.started_at.get_or_insert_with(|| {
            let now = SystemTime::now();
            now.checked_sub(self.started.elapsed()).unwrap_or(now)
        })
    }
}

impl Variables {
    /// The most bytes, names and values, that one exchange may hold.
    pub const MAX_BYTES: usize = 16 * 1024;
    /// The most variables that one exchange may hold: each is looked for among all.
    pub const MAX_ENTRIES: usize = 256;

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let entry = self.find(name)?;
        self.block.get(entry.start + LENGTHS + name.len()..entry.end)
    }

    /// Sets `name`; false when the exchange's quota is used up, and then nothing changed.
    #[must_use]
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        let existing = self.find(name);
        let count = self.count + usize::from(existing.is_none());
        let kept = self.block.len() - existing.as_ref().map_or(0, Range::len);
        let bytes = kept + LENGTHS + name.len() + value.len() - count * LENGTHS;
        let lengths = (u16::try_from(name.len()), u16::try_from(value.len()));
        let (true, true, (Ok(name_len), Ok(value_len))) =
            (bytes <= Self::MAX_BYTES, count <= Self::MAX_ENTRIES, lengths)
        else {
            return false;
        };
        match existing {
            Some(entry) => drop(self.block.drain(entry)),
            None if count == 1 => self.block.reserve(FIRST_BLOCK),
            None => {}
        }
        self.count = count;
        self.block.extend(name_len.to_le_bytes().into_iter().chain(value_len.to_le_bytes()));
        self.block.extend_from_slice(name);
        self.block.extend_from_slice(value);
        true
    }

    /// Where the variable of that name stands.
    fn find(&self, name: &[u8]) -> Option<Range<usize>> {
        let mut start = 0;
        loop {
            let (lengths, rest) = self.block.get(start..)?.split_first_chunk::<LENGTHS>()?;
            let [name_len, value_len] = [[lengths[0], lengths[1]], [lengths[2], lengths[3]]].map(u16::from_le_bytes);
            let end = start + LENGTHS + usize::from(name_len) + usize::from(value_len);
            if rest.get(..usize::from(name_len)) == Some(name) {
                return Some(start..end);
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_can_be_set_again_at_any_length_and_place() {
        let mut variables = Variables::default();
        for (name, value) in [("a", "1"), ("ab", ""), ("", "x"), ("a", "longer"), ("ab", "2"), ("", ""), ("a", "")] {
            assert!(variables.set(name.as_bytes(), value.as_bytes()));
            assert_eq!(variables.get(name.as_bytes()), Some(value.as_bytes()));
        }
        let values = [&b"a"[..], b"ab", b"", b"b"].map(|name| variables.get(name));
        assert_eq!(values, [Some(&b""[..]), Some(b"2"), Some(b""), None]);
    }

    #[test]
    fn bytes_are_counted_without_what_was_replaced() {
        let mut variables = Variables::default();
        let value = [0; Variables::MAX_BYTES];
        assert!(variables.set(b"a", &value[1..]));
        assert!(!variables.set(b"b", b"") && !variables.set(b"a", &value));
        assert!(variables.set(b"a", &value[2..]) && variables.set(b"b", b""));
        assert_eq!(variables.get(b"a").map(<[u8]>::len), Some(Variables::MAX_BYTES - 2));
    }
}
