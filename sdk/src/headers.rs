//! The headers of a request or a response: read where the host wrote them, changed as a list of changes.
//!
//! Nothing is copied or parsed ahead: a look-up walks the message's fields. The host checks names and values when it
//! applies the changes and refuses those it owns (`connection`, `content-length`, `transfer-encoding`, ...).
//!
//! **Invariant:** a read after a change sees the change.
//!
//! ```
//! use meshup_sdk::prelude::*;
//!
//! let mut res = Response::new(200).with_header("content-type", "text/plain");
//! res.headers_mut().set("X-Served-By", "meshup");
//! assert_eq!(res.headers().get("x-served-by"), Some("meshup"));
//! res.headers_mut().remove("content-type");
//! assert_eq!(res.headers().iter().count(), 1);
//! ```

use std::fmt;

use meshup_abi::{Fields, HeaderNames, headers::is_same_name, tag};

mod name;
mod prepared;
mod value;

pub use name::{HeaderName, InvalidHeaderName};
pub use prepared::PreparedHeaders;
pub use value::{HeaderValue, InvalidHeaderValue};

use crate::{buffer::Buffer, text::as_text, wire};

/// The headers of a request or a response. Names compare without regard to case.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    message: &'a [u8],
    changes: &'a [u8],
}

impl<'a> Headers<'a> {
    #[inline]
    pub(crate) fn new(message: &'a [u8], changes: &'a [u8]) -> Self {
        Self { message, changes }
    }

    /// The first value of `name`. `None` when there is none or when it is not UTF-8: where that matters, as in an
    /// access decision, ask [`Headers::get_bytes`].
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        as_text(self.get_bytes(name)?)
    }

    /// The first value of `name`, as it is.
    #[must_use]
    pub fn get_bytes(&self, name: &str) -> Option<&'a [u8]> {
        // As it is for most look-ups: without the iterator they cost half.
        if self.changes.is_empty() { self.sent(name).next_header(name) } else { self.get_all(name).next() }
    }

    /// Every value of `name`, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let (mut message, mut changes) = self.parts_with(name);
        std::iter::from_fn(move || message.next_header(name).or_else(|| changes.next_header(name)))
    }

    /// Whether there is a header `name`.
    #[inline]
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get_bytes(name).is_some()
    }

    /// Every name and value. Names from the host are lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let changes = Fields::new(self.changes);
        listed(Fields::new(self.message))
            .filter(move |(name, _)| !replaced(changes.clone(), name))
            .chain(still_valid(Fields::new(self.changes)))
            .filter_map(|(name, value)| Some((as_text(name)?, value)))
    }

    /// The message's fields if `name` may be among them, otherwise none.
    #[inline]
    fn sent(&self, name: &str) -> Fields<'a> {
        Fields::new(HeaderNames::fields_with(name.as_bytes(), self.message))
    }

    /// The fields in which `name` still counts: from the message, and from the changes.
    fn parts_with(&self, name: &str) -> (Fields<'a>, Fields<'a>) {
        let mut rest = Fields::new(self.changes);
        let mut parts = (self.sent(name), rest.clone());
        loop {
            let here = rest.clone();
            let Some(Ok(field)) = rest.next() else { return parts };
            match field.tag {
                tag::HEADER_SET if field.pair().is_ok_and(|(other, _)| is_same_name(other, name.as_bytes())) => {
                    parts = (Fields::new(&[]), here);
                }
                tag::HEADER_REMOVE if is_same_name(field.payload, name.as_bytes()) => {
                    parts = (Fields::new(&[]), rest.clone())
                }
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

/// The headers of a request or a response, to change.
#[derive(Debug)]
pub struct HeadersMut<'a> {
    message: &'a [u8],
    changes: &'a mut Buffer,
}

impl<'a> HeadersMut<'a> {
    #[inline]
    pub(crate) fn new(message: &'a [u8], changes: &'a mut Buffer) -> Self {
        Self { message, changes }
    }

    /// Replaces every header `name` by this one, or adds it.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        wire::put_pair(self.changes.writable(), tag::HEADER_SET, name.as_bytes(), value.as_ref());
    }

    /// Adds a header beside those of the same name.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        wire::put_pair(self.changes.writable(), tag::HEADER, name.as_bytes(), value.as_ref());
    }

    /// Removes every header `name`.
    pub fn remove(&mut self, name: &str) {
        wire::put_bytes(self.changes.writable(), tag::HEADER_REMOVE, name.as_bytes());
    }

    /// Makes the changes that were prepared, in their order.
    pub fn apply(&mut self, prepared: &PreparedHeaders) {
        self.changes.writable().extend_from_slice(prepared.as_bytes());
    }

    /// The headers as they stand now, to read.
    #[must_use]
    pub fn as_headers(&self) -> Headers<'_> {
        Headers::new(self.message, self.changes)
    }
}

fn listed<'a>(fields: Fields<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields
        .map_while(Result::ok)
        .filter(|field| matches!(field.tag, tag::HEADER | tag::HEADER_SET))
        .filter_map(|field| field.pair().ok())
}

/// The headers in a list of changes that no later change takes back.
fn still_valid<'a>(mut changes: Fields<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    std::iter::from_fn(move || {
        loop {
            let field = changes.next()?.ok()?;
            if !matches!(field.tag, tag::HEADER | tag::HEADER_SET) {
                continue;
            }
            if let Ok(pair) = field.pair()
                && !replaced(changes.clone(), pair.0)
            {
                return Some(pair);
            }
        }
    })
}

fn replaced(changes: Fields<'_>, name: &[u8]) -> bool {
    changes.map_while(Result::ok).any(|field| match field.tag {
        tag::HEADER_SET => field.pair().is_ok_and(|(other, _)| is_same_name(other, name)),
        tag::HEADER_REMOVE => is_same_name(field.payload, name),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut message = Vec::new();
        for (name, value) in headers {
            wire::put_pair(&mut message, tag::HEADER, name.as_bytes(), value.as_bytes());
        }
        message
    }

    fn after(change: impl FnOnce(&mut HeadersMut<'_>)) -> Vec<(String, String)> {
        let message = message(&[("a", "1"), ("b", "2"), ("a", "3")]);
        let mut changes = Buffer::EMPTY;
        change(&mut HeadersMut::new(&message, &mut changes));
        let headers = Headers::new(&message, &changes);
        let all: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_owned(), String::from_utf8(value.to_vec()).unwrap())).collect();
        for name in ["a", "b", "c"] {
            let listed: Vec<_> = all.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect();
            let found: Vec<_> = headers.get_all(name).map(|value| str::from_utf8(value).unwrap()).collect();
            assert_eq!(found, listed, "get_all and iter disagree about {name}");
            assert_eq!(headers.get(name), found.first().copied());
        }
        all
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn reads_see_changes_in_order() {
        assert_eq!(after(|_| {}), pairs(&[("a", "1"), ("b", "2"), ("a", "3")]));
        assert_eq!(after(|h| h.set("A", "9")), pairs(&[("b", "2"), ("A", "9")]));
        assert_eq!(after(|h| h.remove("A")), pairs(&[("b", "2")]));
        assert_eq!(after(|h| h.append("b", "4")), pairs(&[("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")]));
        let mixed = |h: &mut HeadersMut<'_>| {
            h.append("c", "5");
            h.set("c", "6");
            h.append("c", "7");
            h.remove("a");
            h.append("a", "8");
        };
        assert_eq!(after(mixed), pairs(&[("b", "2"), ("c", "6"), ("c", "7"), ("a", "8")]));
    }

    #[test]
    fn a_value_that_is_not_text_is_there_as_bytes() {
        let mut message = Vec::new();
        wire::put_pair(&mut message, tag::HEADER, b"x", b"\xff");
        let headers = Headers::new(&message, &[]);
        assert_eq!((headers.get("x"), headers.get_bytes("x")), (None, Some(&b"\xff"[..])));
        assert!(headers.contains("X"));
    }
}
