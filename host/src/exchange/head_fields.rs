//! A head as the fields of a message: made for the first filter that is told the head, kept in step with the changes of
//! its headers, and copied for the next.
//!
//! It is a copy: the head's own map is what counts. A field that a change took away keeps its place under a tag that
//! readers pass over.
//!
//! **Invariant:** while it exists it says the same as the head it was made of.

use std::cell::Cell;

use http::{HeaderMap, HeaderName, HeaderValue, header::HOST, request};
use meshup_abi::{Fields, HeaderNames, Overflow, SliceSink, Writer, tag};

use super::event::Message;

/// A buffer above this is not kept for the next exchange.
const MAX_KEPT_CAPACITY: usize = 64 * 1024;

/// Bytes of the fields that an event has besides a head.
const MAX_BESIDES: usize = 64;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A head as fields: of a request all of it, of a response the headers.
#[derive(Debug)]
pub(crate) struct HeadFields {
    fields: Vec<u8>,
    /// Where the headers begin, and which there are.
    headers_at: u32,
    names: HeaderNames,
}

impl HeadFields {
    /// A request's head. Filters know `host` as the authority.
    pub(crate) fn of_request(head: &request::Parts, scheme: &str) -> Self {
        let mut fields = Self::begin();
        fields.put(tag::METHOD, head.method.as_str().as_bytes());
        fields.put(tag::SCHEME, scheme.as_bytes());
        fields.put(tag::AUTHORITY, head.headers.get(HOST).map_or(b"", HeaderValue::as_bytes));
        fields.put(tag::PATH, head.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        fields.extended(head.headers.iter().filter(|(name, _)| **name != HOST))
    }

    /// The headers of a response.
    pub(super) fn of_response(headers: &HeaderMap) -> Self {
        Self::begin().extended(headers.iter())
    }

    fn begin() -> Self {
        Self { fields: SPARE.take(), headers_at: 0, names: HeaderNames::default() }
    }

    fn extended<'a>(mut self, headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Self {
        // What stands before the headers has less than 4 GiB.
        self.headers_at = self.fields.len() as u32;
        for (name, value) in headers {
            _ = self.append(name, value);
        }
        self
    }

    /// A vector takes every field, and nothing in a head has 4 GiB.
    fn put(&mut self, tag: u16, value: &[u8]) {
        _ = Writer::new(&mut self.fields).bytes(tag, value);
    }

    /// Bytes of all fields.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// All fields, and before them those that the event has besides.
    pub(super) fn write(
        &self,
        message: &mut Message<'_, '_>,
        besides: impl FnOnce(&mut Message<'_, '_>) -> Result<(), Overflow>,
    ) -> Result<(), Overflow> {
        let mut before = [0; MAX_BESIDES];
        let mut sink = SliceSink::new(&mut before);
        besides(&mut Writer::new(&mut sink))?;
        let len = sink.written();
        message.fields(&self.names.field(self.headers_at + len as u32))?;
        message.fields(before.get(..len).ok_or(Overflow)?)?;
        message.fields(&self.fields)
    }

    /// Adds a header; gives where it stands.
    pub(super) fn append(&mut self, name: &HeaderName, value: &HeaderValue) -> usize {
        let (at, name) = (self.fields.len(), name.as_str().as_bytes());
        self.names.add(name);
        // A vector takes every field, and a header has less than 4 GiB.
        _ = Writer::new(&mut self.fields).pair(tag::HEADER, name, value.as_bytes());
        at
    }

    /// Takes the headers of that name away.
    pub(super) fn remove(&mut self, name: &HeaderName) {
        Fields::blank_headers(&mut self.fields, name.as_str());
    }

    /// Takes the headers of that name away that stand before `at`.
    pub(super) fn remove_before(&mut self, at: usize, name: &HeaderName) {
        if let Some(before) = self.fields.get_mut(..at) {
            Fields::blank_headers(before, name.as_str());
        }
    }
}

impl Drop for HeadFields {
    fn drop(&mut self) {
        if self.fields.capacity() <= MAX_KEPT_CAPACITY {
            self.fields.clear();
            SPARE.set(std::mem::take(&mut self.fields));
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

    /// What a filter finds in an event's message, by walking it and by name.
    fn listed(fields: &HeadFields) -> Vec<(String, String)> {
        let mut message = vec![0; 1024];
        let mut sink = SliceSink::new(&mut message);
        fields.write(&mut Writer::new(&mut sink), |before| before.u32(tag::FLAGS, 0)).unwrap();
        let len = sink.written();
        let message = &message[..len];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = Fields::new(message).map(Result::unwrap).filter(|field| field.tag == tag::HEADER);
        let mut headers: Vec<_> = headers.map(|field| field.pair().unwrap()).collect();
        for (name, _) in &headers {
            let mut found = Fields::new(HeaderNames::fields_with(name, message));
            let values = std::iter::from_fn(|| found.next_header(str::from_utf8(name).unwrap()));
            assert!(values.eq(headers.iter().filter(|(other, _)| other == name).map(|(_, value)| *value)));
        }
        headers.sort_unstable();
        headers.into_iter().map(|(name, value)| (text(name), text(value))).collect()
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
