//! A head as the fields of a message: made for the first filter that is told the head, kept in step with the changes of
//! its headers, and copied for the next.
//!
//! It is a copy: the head's own map is what counts. A field that a change took away keeps its place under a tag that
//! readers pass over.
//!
//! **Invariant:** while it exists it says the same as the head it was made of.

use std::cell::Cell;

use http::{HeaderMap, HeaderName, HeaderValue, header::HOST, request};
use meshup_abi::{Fields, Writer, tag};

/// A buffer above this is not kept for the next exchange.
const MAX_KEPT_CAPACITY: usize = 64 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A head as fields: of a request all of it, of a response the headers.
#[derive(Debug)]
pub(crate) struct HeadFields(Vec<u8>);

impl HeadFields {
    /// A request's head. Filters know `host` as the authority.
    pub(crate) fn of_request(head: &request::Parts, scheme: &str) -> Self {
        let mut fields = Self(SPARE.take());
        fields.put(tag::METHOD, head.method.as_str().as_bytes());
        fields.put(tag::SCHEME, scheme.as_bytes());
        fields.put(tag::AUTHORITY, head.headers.get(HOST).map_or(b"", HeaderValue::as_bytes));
        fields.put(tag::PATH, head.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        fields.extended(head.headers.iter().filter(|(name, _)| **name != HOST))
    }

    /// The headers of a response.
    pub(super) fn of_response(headers: &HeaderMap) -> Self {
        Self(SPARE.take()).extended(headers.iter())
    }

    fn extended<'a>(mut self, headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Self {
        for (name, value) in headers {
            _ = self.append(name, value);
        }
        self
    }

    /// A vector takes every field, and nothing in a head has 4 GiB.
    fn put(&mut self, tag: u16, value: &[u8]) {
        _ = Writer::new(&mut self.0).bytes(tag, value);
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds a header; gives where it stands.
    pub(super) fn append(&mut self, name: &HeaderName, value: &HeaderValue) -> usize {
        let at = self.0.len();
        // A vector takes every field, and a header has less than 4 GiB.
        _ = Writer::new(&mut self.0).pair(tag::HEADER, name.as_str().as_bytes(), value.as_bytes());
        at
    }

    /// Takes the headers of that name away.
    pub(super) fn remove(&mut self, name: &HeaderName) {
        Fields::blank_headers(&mut self.0, name.as_str());
    }

    /// Takes the headers of that name away that stand before `at`.
    pub(super) fn remove_before(&mut self, at: usize, name: &HeaderName) {
        if let Some(before) = self.0.get_mut(..at) {
            Fields::blank_headers(before, name.as_str());
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
    use crate::exchange::answer::{HeaderChange, HeaderChanges};

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
        let (mut head, ()) = http::Request::new(()).into_parts();
        for (n, v) in [("host", "a"), ("accept", "*/*"), ("x-a", "1"), ("x-a", "2"), ("x-b", "3")] {
            head.headers.append(name(n), value(v));
        }
        let mut fields = Some(HeadFields::of_request(&head, "http"));
        let changes = vec![
            HeaderChange::Set(name("x-a"), value("9")),
            HeaderChange::Append(name("x-b"), value("4")),
            HeaderChange::Remove(name("accept")),
            HeaderChange::Remove(name("x-absent")),
            HeaderChange::Set(name("x-c"), value("")),
        ];
        HeaderChanges::Own(changes).apply(&mut head.headers, &mut fields);
        let fields = fields.unwrap();
        assert_eq!(listed(&fields), listed(&HeadFields::of_request(&head, "http")));
        assert_eq!(listed(&fields).len(), 4);
    }

    #[test]
    fn after_a_clear_they_are_made_anew() {
        let mut headers = HeaderMap::new();
        let mut fields = Some(HeadFields::of_response(&headers));
        HeaderChanges::Own(vec![HeaderChange::Clear]).apply(&mut headers, &mut fields);
        assert!(fields.is_none());
    }
}
