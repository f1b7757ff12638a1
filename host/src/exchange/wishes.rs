//! What a request asks of the connection rather than of its resource: to switch protocols (RFC 9110 section 7.8), and
//! to be told before it sends its body (section 10.1.1).
//!
//! **Invariant:** nothing is asked of an upstream that the client did not ask for and the route does not allow.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Version,
    header::{CONNECTION, EXPECT, UPGRADE},
};

use super::head::Unacceptable;
use crate::body::{Permission, RequestBody};

/// What a request asked for.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// To switch to one of these protocols, later to this one.
    upgrade: Option<Box<str>>,
    expect: Expect,
}

/// What the client waits for before it sends the body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expect {
    #[default]
    Nothing,
    Continue,
    /// Something that nobody knows.
    Other,
}

impl Wishes {
    /// What the fields in `present` say.
    pub(super) fn of_fields(headers: &HeaderMap, present: &[HeaderName]) -> Self {
        let upgrade = present.contains(&UPGRADE) && asks_upgrade(headers);
        let expect = if present.contains(&EXPECT) { expect(headers) } else { Expect::Nothing };
        Self { upgrade: upgrade.then(|| listed(headers)), expect }
    }

    /// What of it a client of this version may ask.
    pub(super) fn of(self, version: Version) -> Result<Self, Unacceptable> {
        match (version, self.expect) {
            (Version::HTTP_10, _) => Ok(Self::default()),
            (_, Expect::Other) => Err(Unacceptable::Expectation),
            (Version::HTTP_11, _) => Ok(self),
            _ => Ok(Self { upgrade: None, ..self }),
        }
    }

    /// What of it is granted: the first protocol that the route allows, and only a request without body may switch.
    pub(super) fn granted(self, allowed: &[Arc<str>], has_body: bool) -> Self {
        if has_body || self.upgrade.is_none() {
            return Self { upgrade: None, expect: if has_body { self.expect } else { Expect::Nothing } };
        }
        let is_allowed = |name: &&str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        let upgrade = self.upgrade.and_then(|names| names.split(',').map(str::trim).find(is_allowed).map(Box::from));
        Self { upgrade, expect: Expect::Nothing }
    }

    /// Whether nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.upgrade.is_none() && self.expect == Expect::Nothing
    }

    /// Whether it is to switch protocols.
    pub(super) fn asks_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Whether the client waits for a word before it sends its body.
    pub(super) fn expects_continue(&self) -> bool {
        self.expect == Expect::Continue
    }

    /// Passes on to an HTTP/1.1 upstream what was asked; the body is one that nobody asked for yet.
    pub(super) fn pass_on(&self, request: &mut Request<RequestBody>) {
        if let Some(name) = self.upgrade.as_deref().and_then(|name| HeaderValue::from_str(name).ok()) {
            switch(request.headers_mut(), name);
        }
        if self.expects_continue() {
            Permission::ask(request);
        }
    }

    /// Whether a 101 response switches to what was asked for.
    pub(super) fn is_switched<B>(&self, response: &Response<B>) -> bool {
        let agreed = response.headers().get(UPGRADE).and_then(|name| name.to_str().ok());
        let asked = self.upgrade.as_deref();
        asked.zip(agreed).is_some_and(|(asked, agreed)| asked.eq_ignore_ascii_case(agreed.trim()))
    }

    /// Makes a head one that switches.
    pub(super) fn switch(&self, headers: &mut HeaderMap) {
        if let Some(name) = self.upgrade.as_deref().and_then(|name| HeaderValue::from_str(name).ok()) {
            switch(headers, name);
        }
    }
}

fn switch(headers: &mut HeaderMap, name: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, name);
}

/// Without the option in `connection` the field was meant for someone else.
fn asks_upgrade(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// Every protocol, in the client's order.
fn listed(headers: &HeaderMap) -> Box<str> {
    let lines: Vec<_> = headers.get_all(UPGRADE).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",").into()
}

fn expect(headers: &HeaderMap) -> Expect {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().all(known) { Expect::Continue } else { Expect::Other }
}
