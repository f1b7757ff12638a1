//! Whose bucket it is: some parts of a request, as a key of the shared state.
//!
//! **Invariant:** requests that differ in a part have different keys, whatever a client writes; a key is short.

use std::{
    io::Write,
    net::{IpAddr, Ipv6Addr},
};

use meshup_sdk::prelude::*;

/// Longer keys are told by their digest: 65,536 of them must fit into the state.
const MAX_BYTES: usize = 128;

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Part {
    Client,
    Host,
    Route,
    PeerSpiffe,
    Header(HeaderName),
    Variable(String),
}

impl TryFrom<String> for Part {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("header.") {
            return HeaderName::try_from(name.to_owned()).map(Self::Header).map_err(|error| error.to_string());
        }
        match (&*text, text.strip_prefix("variable.")) {
            ("client", _) => Ok(Self::Client),
            ("host", _) => Ok(Self::Host),
            ("route", _) => Ok(Self::Route),
            ("peer.spiffe", _) => Ok(Self::PeerSpiffe),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            _ => Err(format!(
                "unknown part {text:?}, expected client, host, route, peer.spiffe, header.NAME or variable.NAME"
            )),
        }
    }
}

/// The parts, and how much of an IPv6 address is one client.
#[derive(Debug)]
pub(crate) struct Key {
    parts: Vec<Part>,
    ipv6_mask: u128,
}

impl Key {
    pub(crate) fn new(parts: Vec<Part>, ipv6_prefix: u32) -> Self {
        Self { parts, ipv6_mask: u128::MAX.checked_shl(128 - ipv6_prefix).unwrap_or(0) }
    }

    /// The key of a request. A part that it does not have is told apart from an empty one.
    pub(crate) fn of(&self, req: &Request) -> String {
        let mut key = vec![b'='];
        for part in &self.parts {
            if self.put(part, req, &mut key).is_none() {
                key.push(b'-');
            }
        }
        match String::from_utf8(key) {
            Ok(key) if key.len() <= MAX_BYTES => key,
            Ok(key) => digest(key.as_bytes()),
            Err(error) => digest(error.as_bytes()),
        }
    }

    /// Writes a part; `None` when the request does not have it.
    fn put(&self, part: &Part, req: &Request, key: &mut Vec<u8>) -> Option<()> {
        match part {
            Part::Client => exchange::with_attribute(Attribute::ClientAddress, |text| self.put_client(text, key)),
            Part::Host => {
                put(key, host(req.authority()).to_ascii_lowercase().as_bytes());
                Some(())
            }
            Part::Route => exchange::with_attribute(Attribute::Route, |name| put(key, name.as_bytes())),
            Part::PeerSpiffe => exchange::with_attribute(Attribute::PeerSpiffe, |id| put(key, id.as_bytes())),
            Part::Header(name) => req.headers().get_bytes(name).map(|value| put(key, value)),
            Part::Variable(name) => exchange::variable(name).map(|value| put(key, &value)),
        }
    }

    fn put_client(&self, text: &str, key: &mut Vec<u8>) {
        // Most are of IPv4 and need no look.
        let address = if text.contains(':') { text.parse().ok() } else { None };
        match address.map(|address: Ipv6Addr| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                put(key, &(address.to_bits() & self.ipv6_mask).to_be_bytes().map(hex).concat())
            }
            Some(IpAddr::V4(address)) => put(key, address.to_string().as_bytes()),
            None => put(key, text.as_bytes()),
        }
    }
}

/// Length, colon, value: no value can look like two.
fn put(key: &mut Vec<u8>, value: &[u8]) {
    // Writing to a Vec does not fail.
    let _ = write!(key, "{}:", value.len());
    key.extend_from_slice(value);
}

/// The host without port and without the dot of the root.
fn host(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

fn digest(key: &[u8]) -> String {
    let digits = crypto::sha256(key).map(hex);
    std::iter::once('#').chain(digits.as_flattened().iter().copied().map(char::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_by_name() {
        let read = |text: &str| Part::try_from(text.to_owned());
        assert_eq!(read("client"), Ok(Part::Client));
        assert_eq!(read("header.X-User"), Ok(Part::Header(HeaderName::from_static("x-user"))));
        assert_eq!(read("variable.jwt.sub"), Ok(Part::Variable("jwt.sub".to_owned())));
        for text in ["", "ip", "variable.", "header.", "header.a b", "Client"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_have_one_form() {
        for (authority, expected) in [
            ("a.example", "a.example"),
            ("a.example:8080", "a.example"),
            ("a.example.", "a.example"),
            ("a.example.:80", "a.example"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host(authority), expected);
        }
    }
}
