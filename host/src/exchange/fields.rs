//! The headers of a head as the fields of a message: made for the first filter that is told the head, kept in step with
//! the changes of each, and copied for the next.
//!
//! It is a copy: the head's own map is what counts. A field that a change took away keeps its place under a tag that
//! readers pass over.
//!
//! **Invariant:** while it exists it says the same as the head it was made of.

use std::cell::Cell;

use http::{HeaderMap, HeaderName, HeaderValue, header::HOST};
use meshup_abi::{Fields, Writer, tag};

use super::answer::HeaderChange;

/// A buffer above this is not kept for the next exchange.
const MAX_KEPT_CAPACITY: usize = 64 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A head's headers as fields.
#[derive(Debug)]
pub(super) struct HeadFields(Vec<u8>);

impl HeadFields {
    /// The headers of a request, but `host`, which filters know as the authority.
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        Self::of(headers.iter().filter(|(name, _)| **name != HOST))
    }

    /// The headers of a response.
    pub(super) fn of_response(headers: &HeaderMap) -> Self {
        Self::of(headers.iter())
    }

    fn of<'a>(headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Self {
        let mut fields = Self(SPARE.take());
        for (name, value) in headers {
            fields.append(name, value);
        }
        fields
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same after the changes; none when it is better made anew.
    pub(super) fn after(mut self, changes: &[HeaderChange]) -> Option<Self> {
        for change in changes {
            match change {
                HeaderChange::Set(name, value) => {
                    self.remove(name);
                    self.append(name, value);
                }
                HeaderChange::Append(name, value) => self.append(name, value),
                HeaderChange::Remove(name) => self.remove(name),
                HeaderChange::Clear => return None,
            }
        }
        Some(self)
    }

    fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        // A vector takes every field, and a header has less than 4 GiB.
        _ = Writer::new(&mut self.0).pair(tag::HEADER, name.as_str().as_bytes(), value.as_bytes());
    }

    fn remove(&mut self, name: &HeaderName) {
        let name = name.as_str().as_bytes();
        let mut at = 0;
        while let Some(field) = self.0.get(at..).and_then(|rest| Fields::new(rest).next()?.ok()) {
            let len = field.len();
            if field.tag == tag::HEADER && field.pair().is_ok_and(|(other, _)| other == name) {
                Fields::blank(&mut self.0, at);
            }
            at += len;
        }
    }
}

impl Drop for HeadFields {
    fn drop(&mut self) {
        if self.0.capacity() <= MAX_KEPT_CAPACITY {
            self.0.clear();
            SPARE.set(std::mem::take(&mut self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &'static str) -> HeaderName {
        HeaderName::from_static(name)
    }

    fn value(value: &'static str) -> HeaderValue {
        HeaderValue::from_static(value)
    }

    fn listed(fields: &HeadFields) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = Fields::new(fields.as_bytes()).map(Result::unwrap).filter(|field| field.tag == tag::HEADER);
        let mut headers: Vec<_> =
            headers.map(|field| field.pair().map(|(name, value)| (text(name), text(value))).unwrap()).collect();
        headers.sort();
        headers
    }

    #[test]
    fn changes_leave_fields_and_map_the_same() {
        let mut headers = HeaderMap::new();
        for (n, v) in [("host", "a"), ("accept", "*/*"), ("x-a", "1"), ("x-a", "2"), ("x-b", "3")] {
            headers.append(name(n), value(v));
        }
        let fields = HeadFields::of_request(&headers);
        let changes = || {
            vec![
                HeaderChange::Set(name("x-a"), value("9")),
                HeaderChange::Append(name("x-b"), value("4")),
                HeaderChange::Remove(name("accept")),
                HeaderChange::Remove(name("x-absent")),
                HeaderChange::Set(name("x-c"), value("")),
            ]
        };
        let fields = fields.after(&changes()).unwrap();
        super::super::answer::apply(changes(), &mut headers);
        assert_eq!(listed(&fields), listed(&HeadFields::of_request(&headers)));
        assert_eq!(listed(&fields).len(), 4);
    }

    #[test]
    fn after_a_clear_they_are_made_anew() {
        let headers = HeaderMap::new();
        assert!(HeadFields::of_response(&headers).after(&[HeaderChange::Clear]).is_none());
    }
}
