//! A request: the one a filter is given, or one it makes for [`fetch`](crate::fetch()) or a test.
//!
//! **Invariant:** changes reach the host with the next `run` or `pass`, never earlier.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn strip_prefix(mut req: Request, next: Next) -> Response {
//!     if let Some(rest) = req.path_and_query().strip_prefix("/v1") {
//!         let path = rest.to_owned();
//!         req.set_path(&path);
//!     }
//!     next.pass(req)
//! }
//!
//! let done = testing::filter(strip_prefix).run(Request::get("/v1/orders?limit=1"), |_| Response::new(200));
//! assert_eq!(done.sent[0].path, "/orders?limit=1");
//! ```

use std::{cell::Cell, time::Duration};

use meshup_abi::{BodyError, flag, tag};

use crate::{
    buffer::Buffer,
    context,
    head::{Body, Head},
    headers::{Headers, HeadersMut},
    summary::Summary,
    wire,
};

/// A request.
#[derive(Debug)]
pub struct Request {
    pub(crate) head: Head,
    /// Whether the host's copy may differ, so that the next answer has to bring the whole of it.
    pub(crate) whole: Cell<bool>,
}

impl Request {
    /// A request of the filter's own. `path` is path and query.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let mut request = Self { head: Head::own(), whole: Cell::new(true) };
        request.set_method(method);
        request.set_path(path);
        request
    }

    /// A GET request of the filter's own.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST request of the filter's own.
    #[must_use]
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// The same with a header set.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers_mut().set(name, value);
        self
    }

    /// The same for another authority (`host` or `host:port`).
    #[must_use]
    pub fn with_authority(mut self, authority: &str) -> Self {
        self.set_authority(authority);
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.set_body(body);
        self
    }

    #[inline]
    pub(crate) fn received(message: Buffer) -> Self {
        Self { head: Head::received(message, Body::Unread), whole: Cell::new(false) }
    }

    /// The method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.text(tag::METHOD)
    }

    /// `http` or `https`: the scheme the client used.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.head.text(tag::SCHEME)
    }

    /// The authority: HTTP/2 `:authority`, HTTP/1 `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.head.text(tag::AUTHORITY)
    }

    /// Path and query, as in the request line.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.head.text(tag::PATH)
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        let target = self.path_and_query();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The query, without the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path_and_query().split_once('?').map(|(_, query)| query)
    }

    /// The headers. `Host` is [`Request::authority`].
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        self.head.headers()
    }

    /// The headers, to change.
    pub fn headers_mut(&mut self) -> HeadersMut<'_> {
        self.head.headers_mut()
    }

    /// Changes the method.
    pub fn set_method(&mut self, method: &str) {
        self.head.change(tag::METHOD, method.as_bytes());
    }

    /// Changes path and query.
    pub fn set_path(&mut self, path_and_query: &str) {
        self.head.change(tag::PATH, path_and_query.as_bytes());
    }

    /// Changes the authority.
    pub fn set_authority(&mut self, authority: &str) {
        self.head.change(tag::AUTHORITY, authority.as_bytes());
    }

    /// Sends the request to another upstream of the configuration than the route says.
    pub fn set_upstream(&mut self, name: &str) {
        self.head.change(tag::UPSTREAM, name.as_bytes());
    }

    /// A new time-out for the whole exchange, counted from its start.
    pub fn set_timeout(&mut self, timeout: Duration) {
        wire::put_duration(self.head.changes.writable(), tag::TIMEOUT, timeout);
    }

    /// Whether there is a body.
    #[must_use]
    pub fn has_body(&self) -> bool {
        match self.head.body_here() {
            Some(body) => !body.is_empty(),
            None => wire::first_u32(&self.head.message, tag::FLAGS).unwrap_or_default() & flag::NO_BODY == 0,
        }
    }

    /// Reads the body, up to `limit` bytes. It still goes on to whatever `run` or `pass` brings the request to.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when it is longer than `limit` (it still flows on), [`BodyError::Aborted`] when the client
    /// broke off, [`BodyError::Gone`] when it was passed on before.
    pub async fn body(&mut self, limit: usize) -> Result<&[u8], BodyError> {
        self.head.read_body(limit, flag::REQUEST_BODY).await
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<Vec<u8>>) {
        self.head.body = Body::Replaced(body.into());
    }

    /// Runs `callback` when the exchange is over, however it ends.
    pub fn on_end(&self, callback: impl FnOnce(&Summary) + 'static) {
        context::on_end(Box::new(callback));
    }

    /// Writes what the host has to know before it passes the request on: the changes, or the whole request when later
    /// filters may have changed the host's copy since.
    #[inline]
    pub(crate) fn put_for_host(&self, out: &mut Vec<u8>) {
        match self.whole.replace(true) {
            false => self.head.put_changes(out),
            true => self.head.put_whole_request(out),
        }
    }

    /// Writes the request as one to an upstream of its own.
    pub(crate) fn put_for_fetch(&self, out: &mut Vec<u8>) {
        self.head.put_values(out, &[tag::METHOD, tag::PATH, tag::AUTHORITY]);
        self.head.put_headers(out);
        if let Some(body) = self.head.body_here().filter(|body| !body.is_empty()) {
            wire::put_bytes(out, tag::DATA, body);
        }
    }
}
