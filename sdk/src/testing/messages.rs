//! Requests and responses as the simulated host holds them, and the filter's changes to them.
//!
//! **Invariant:** a change that the proxy would refuse fails the test.

use std::time::Duration;

use meshup_abi::{
    ErrorKind, Field,
    headers::{is_host_owned, is_name, is_value},
    tag,
};

use crate::{request::Request, wire};

pub(super) type Headers = Vec<(String, Vec<u8>)>;

/// A request as it came out of the filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentRequest {
    /// The method.
    pub method: String,
    /// The authority.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The upstream the filter chose, where it did.
    pub upstream: Option<String>,
    /// The deadline of this run or fetch.
    pub deadline: Option<Duration>,
    /// The time-out the filter set for the exchange.
    pub timeout: Option<Duration>,
    /// Which run or fetch of the exchange this is, from 1.
    pub attempt: u32,
    /// Whether the answer brings the complete list of headers.
    pub(super) complete: bool,
}

impl SentRequest {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// What the client sends.
    pub(super) fn from_client(req: &Request) -> Self {
        Self {
            method: req.method().to_owned(),
            authority: match req.authority() {
                "" => "test.example".to_owned(),
                authority => authority.to_owned(),
            },
            path: req.path_and_query().to_owned(),
            headers: copy_headers(req.headers()),
            body: req.head.body_here().unwrap_or_default().to_vec(),
            ..Self::default()
        }
    }

    /// The host's own headers stay.
    fn clear_headers(&mut self) {
        self.complete = true;
        self.headers.retain(|(name, _)| is_host_owned(name.as_bytes()));
    }

    /// Applies one field of an answer.
    pub(super) fn apply(&mut self, field: Field<'_>) {
        let text = || field.text().expect("text is UTF-8").to_owned();
        match field.tag {
            tag::HEADERS_CLEAR => self.clear_headers(),
            tag::HEADER if self.complete && is_owned(field) => {}
            tag::METHOD => self.method = text(),
            tag::AUTHORITY => self.authority = text(),
            tag::PATH => self.path = text(),
            tag::UPSTREAM => self.upstream = Some(text()),
            tag::DATA => self.body = field.payload.to_vec(),
            tag::DEADLINE => self.deadline = field.duration().ok(),
            tag::TIMEOUT => self.timeout = field.duration().ok(),
            _ => apply_to_headers(&mut self.headers, field),
        }
    }
}

/// A response as the simulated host holds it.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    pub(super) status: u16,
    pub(super) error: Option<ErrorKind>,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    /// Whether the filter makes all of it.
    pub(super) complete: bool,
}

impl Message {
    /// A response of the filter's own, still empty.
    pub(super) fn own() -> Self {
        Self { complete: true, ..Self::default() }
    }

    /// Applies one field of an answer.
    pub(super) fn apply(&mut self, field: Field<'_>) {
        match field.tag {
            tag::HEADER if self.complete && is_owned(field) => {}
            tag::STATUS => self.status = field.u16().expect("a status is 16 bits"),
            tag::DATA => self.body = field.payload.to_vec(),
            _ => apply_to_headers(&mut self.headers, field),
        }
    }

    /// The fields of a Response or Fetched event.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        wire::put_u16(out, tag::STATUS, self.status);
        put_headers(out, &self.headers);
        if let Some(error) = self.error {
            wire::put_u32(out, tag::ERROR, error.code());
        }
    }
}

/// What became of an exchange.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finished {
    pub(super) response: Message,
    /// Each request that the filter ran or passed on, in order.
    pub sent: Vec<SentRequest>,
    /// Each fetch, with its upstream, in order.
    pub fetched: Vec<(String, SentRequest)>,
    /// Each sleep, in order.
    pub slept: Vec<Duration>,
    /// Whether the filter passed the request on without waiting for the response.
    pub passed: bool,
    /// Whether the client went away first: then there is no response.
    pub cancelled: bool,
}

impl Finished {
    /// The status the client gets; 0 when it went away.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status
    }

    /// The first value of a header of the response.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.response.headers, name)
    }

    /// Every header of the response, names in lower case.
    #[must_use]
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.response.headers
    }

    /// The response's body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.response.body
    }

    /// The response's body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.response.body).expect("the body is UTF-8")
    }

    /// Why the host made the response itself; `None` when the upstream or the filter did.
    #[must_use]
    pub fn error(&self) -> Option<ErrorKind> {
        self.response.error
    }
}

fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    str::from_utf8(value).ok()
}

pub(super) fn copy_headers(headers: crate::headers::Headers<'_>) -> Headers {
    headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect()
}

pub(super) fn put_headers(out: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in headers {
        wire::put_pair(out, tag::HEADER, name.as_bytes(), value);
    }
}

fn apply_to_headers(headers: &mut Headers, field: Field<'_>) {
    match field.tag {
        tag::HEADER_REMOVE => {
            let name = checked_name(field.payload);
            headers.retain(|(other, _)| *other != name);
        }
        tag::HEADER_SET | tag::HEADER => {
            let (name, value) = field.pair().expect("a pair is whole");
            let name = checked_name(name);
            check_value(&name, value);
            if field.tag == tag::HEADER_SET {
                headers.retain(|(other, _)| *other != name);
            }
            headers.push((name, value.to_vec()));
        }
        _ => {}
    }
}

/// Of a complete list the host ignores the headers it makes itself.
fn is_owned(field: Field<'_>) -> bool {
    field.pair().is_ok_and(|(name, _)| is_host_owned(&name.to_ascii_lowercase()))
}

fn checked_name(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name).to_ascii_lowercase();
    assert!(is_name(name), "the proxy refuses the header name {text:?}");
    assert!(!is_host_owned(text.as_bytes()), "the proxy owns the header {text:?}: a filter cannot change it");
    text
}

fn check_value(name: &str, value: &[u8]) {
    assert!(
        is_value(value),
        "the proxy refuses the value of the header {name:?}: {:?}",
        String::from_utf8_lossy(value)
    );
}
