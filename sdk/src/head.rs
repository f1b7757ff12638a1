//! What a request and a response have in common: the host's message, the filter's changes to it, and the body.
//!
//! It sends nothing by itself.
//!
//! **Invariant:** the message is never changed; every change is in `changes` or in `body`.

use meshup_abi::{BodyError, Event, Verdict, headers::is_host_owned, tag};

use crate::{
    buffer::Buffer,
    context,
    headers::{Headers, HeadersMut},
    operation::Operation,
    text::as_text,
    wire,
};

#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) message: Buffer,
    pub(crate) changes: Buffer,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    /// With the host.
    Unread,
    /// In the event message that brought it, and still with the host.
    Read(Buffer),
    /// In the head's own message.
    Inline,
    /// The filter's own.
    Replaced(Vec<u8>),
}

impl Head {
    /// A head that the host sent.
    #[inline]
    pub(crate) fn received(message: Buffer, body: Body) -> Self {
        Self { message, changes: Buffer::EMPTY, body }
    }

    /// A head of the filter's own.
    pub(crate) fn own() -> Self {
        Self { message: Buffer::EMPTY, changes: Buffer::EMPTY, body: Body::Replaced(Vec::new()) }
    }

    pub(crate) fn headers(&self) -> Headers<'_> {
        Headers::new(&self.message, &self.changes)
    }

    pub(crate) fn headers_mut(&mut self) -> HeadersMut<'_> {
        HeadersMut::new(&self.message, &mut self.changes)
    }

    /// The value of a field that occurs once and that the filter may have changed.
    pub(crate) fn value(&self, tag: u16) -> Option<&[u8]> {
        let changed = if self.changes.is_empty() { None } else { wire::last(&self.changes, tag) };
        changed.or_else(|| wire::first(&self.message, tag)).map(|field| field.payload)
    }

    /// The same as text.
    ///
    /// The host sends these as UTF-8; were they not, a fault is safer than a filter that decides on an empty path.
    pub(crate) fn text(&self, tag: u16) -> &str {
        let value = self.value(tag).unwrap_or_default();
        as_text(value).unwrap_or_else(|| panic!("field {tag} of a head is not UTF-8"))
    }

    pub(crate) fn change(&mut self, tag: u16, value: &[u8]) {
        wire::put_bytes(self.changes.writable(), tag, value);
    }

    /// The body, when it is here.
    pub(crate) fn body_here(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Unread => None,
            Body::Read(event) => Some(wire::data(event)),
            Body::Inline => Some(wire::data(&self.message)),
            Body::Replaced(bytes) => Some(bytes),
        }
    }

    /// Reads the body from the host unless it is here; `flags` say whose it is.
    pub(crate) async fn read_body(&mut self, limit: usize, flags: u32) -> Result<&[u8], BodyError> {
        if let Body::Unread = self.body {
            self.body = Body::Read(ask_for_body(limit, flags).await?);
        }
        let body = self.body_here().unwrap_or_default();
        if body.len() > limit { Err(BodyError::TooLarge) } else { Ok(body) }
    }

    /// Writes all of a request.
    pub(crate) fn put_whole_request(&self, out: &mut Vec<u8>) {
        self.put_values(out, &[tag::METHOD, tag::PATH, tag::AUTHORITY]);
        wire::put_bytes(out, tag::HEADERS_CLEAR, &[]);
        self.put_headers(out);
        self.put_values(out, &[tag::UPSTREAM, tag::TIMEOUT]);
        self.put_replaced_body(out);
    }

    /// Writes the changes, as recorded.
    #[inline]
    pub(crate) fn put_changes(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.changes);
        self.put_replaced_body(out);
    }

    fn put_replaced_body(&self, out: &mut Vec<u8>) {
        if let Body::Replaced(bytes) = &self.body {
            wire::put_bytes(out, tag::DATA, bytes);
        }
    }

    /// Writes the value of each tag that has one. An HTTP/1.0 request may have an empty authority, which is none.
    pub(crate) fn put_values(&self, out: &mut Vec<u8>, tags: &[u16]) {
        for &tag in tags {
            if let Some(value) = self.value(tag).filter(|value| !value.is_empty()) {
                wire::put_bytes(out, tag, value);
            }
        }
    }

    /// Writes every header but the host's own, which it keeps or makes by itself.
    pub(crate) fn put_headers(&self, out: &mut Vec<u8>) {
        for (name, value) in self.headers().iter().filter(|(name, _)| !is_host_owned(name.as_bytes())) {
            wire::put_pair(out, tag::HEADER, name.as_bytes(), value);
        }
    }
}

async fn ask_for_body(limit: usize, flags: u32) -> Result<Buffer, BodyError> {
    let ask = || context::ask(Verdict::Body, flags, |out| wire::put_u64(out, tag::LIMIT, limit as u64));
    let message = Operation::new(Event::Body).done(ask).await;
    match wire::first_u32(&message, tag::BODY_ERROR) {
        Some(code) => Err(BodyError::try_from(code).unwrap_or(BodyError::Aborted)),
        None => Ok(message),
    }
}
