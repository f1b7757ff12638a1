//! A response: one that `run` or `fetch` brought, or the filter's own.
//!
//! The response of the latest run is delivered with its body streaming past the filter. A response of an earlier run is
//! only its head: its body was dropped when the newer run began. Returning it is a panic, unless it never had a body or
//! the filter read or replaced it: a client would take half a response for a whole one.
//!
//! **Invariant:** a body never belongs to another response than the one it came with.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn hide_server(req: Request, next: Next) -> Response {
//!     let mut res = next.run(&req).await;
//!     res.headers_mut().remove("server");
//!     res
//! }
//!
//! let done = testing::filter(hide_server)
//!     .run(Request::get("/"), |_| Response::new(200).with_header("server", "origin/1.0").with_body("hello"));
//! assert_eq!((done.header("server"), done.body()), (None, &b"hello"[..]));
//! ```

use std::time::Duration;

use meshup_abi::{BodyError, ErrorKind, Verdict, flag, tag};
use serde::Serialize;

use crate::{
    buffer::Buffer,
    context,
    head::{Body, Head},
    headers::{Headers, HeadersMut},
    request::Request,
    summary::Summary,
    wire,
};

/// A response.
#[derive(Debug)]
pub struct Response {
    pub(crate) head: Head,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// Made by the filter, or fetched from elsewhere.
    Own,
    /// Brought by the run of that number.
    Run(u32),
    /// Stands for a request passed on, whose head it holds; whether the host needs the whole of it. The host makes the
    /// changes to the headers when the response comes.
    Passed { whole: bool, changes: Buffer },
}

impl Response {
    /// An empty response of the filter's own.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let mut response = Self { head: Head::own(), origin: Origin::Own };
        response.set_status(status);
        response
    }

    /// A JSON response. A value that cannot be written as JSON gives an empty 500.
    #[must_use]
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(status).with_header("content-type", "application/json").with_body(body),
            Err(_) => Self::new(500),
        }
    }

    /// The same with a header set.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers_mut().set(name, value);
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.set_body(body);
        self
    }

    /// The response of the latest run.
    #[inline]
    pub(crate) fn received(message: Buffer) -> Self {
        Self { head: Head::received(message, Body::Unread), origin: Origin::Run(context::latest_run()) }
    }

    pub(crate) fn fetched(message: Buffer) -> Self {
        Self { head: Head::received(message, Body::Inline), origin: Origin::Own }
    }

    #[inline]
    pub(crate) fn passed(request: Request) -> Self {
        Self { head: request.head, origin: Origin::Passed { whole: request.whole.get(), changes: Buffer::EMPTY } }
    }

    /// The status code.
    ///
    /// What [`Next::pass`](crate::Next::pass) returns is not a response yet: its status is 0.
    #[must_use]
    pub fn status(&self) -> u16 {
        let status = self.head.value(tag::STATUS).and_then(|value| value.try_into().ok());
        status.map_or(0, u16::from_le_bytes)
    }

    /// Changes the status code.
    pub fn set_status(&mut self, status: u16) {
        self.changeable().change(tag::STATUS, &status.to_le_bytes());
    }

    /// The headers; of what [`Next::pass`](crate::Next::pass) returns, those that were set ahead.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        match &self.origin {
            Origin::Passed { changes, .. } => Headers::new(&[], changes),
            Origin::Own | Origin::Run(_) => self.head.headers(),
        }
    }

    /// The headers, to change. What [`Next::pass`](crate::Next::pass) returns can be changed ahead: the host makes the
    /// changes when the response comes.
    pub fn headers_mut(&mut self) -> HeadersMut<'_> {
        match &mut self.origin {
            Origin::Passed { changes, .. } => HeadersMut::new(&[], changes),
            Origin::Own | Origin::Run(_) => self.head.headers_mut(),
        }
    }

    /// Reads the body, up to `limit` bytes. It still goes on to the client unless it is replaced.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when it is longer than `limit` (it still flows on), [`BodyError::Aborted`] when the
    /// upstream broke off, [`BodyError::Gone`] when this is the response of an earlier run.
    pub async fn body(&mut self, limit: usize) -> Result<&[u8], BodyError> {
        if matches!(self.head.body, Body::Unread) && !self.is_latest() {
            return Err(BodyError::Gone);
        }
        self.head.read_body(limit, 0).await
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<Vec<u8>>) {
        self.changeable().body = Body::Replaced(body.into());
    }

    /// Why the host made this response itself; `None` when it came from an upstream or a filter.
    #[must_use]
    pub fn error(&self) -> Option<ErrorKind> {
        ErrorKind::try_from(wire::first_u32(&self.head.message, tag::ERROR)?).ok()
    }

    /// Whether the host can run the request once more: its body is empty or was kept.
    #[must_use]
    pub fn replayable(&self) -> bool {
        self.flags() & flag::REPLAYABLE != 0
    }

    /// From the start of the exchange until the upstream's response head, where an upstream answered.
    #[must_use]
    pub fn upstream_duration(&self) -> Option<Duration> {
        wire::first_duration(&self.head.message, tag::UPSTREAM_DURATION)
    }

    /// Runs `callback` when the exchange is over, however it ends.
    pub fn on_end(&self, callback: impl FnOnce(&Summary) + 'static) {
        context::on_end(Box::new(callback));
    }

    /// Answers the host with this response.
    ///
    /// # Panics
    /// When its body went with a newer run.
    #[inline]
    pub(crate) fn send(&self) {
        match &self.origin {
            Origin::Passed { whole, changes } => context::answer(Verdict::Pass, 0, |out| {
                if *whole {
                    self.head.put_whole_request(out)
                } else {
                    self.head.put_changes(out)
                }
                if !changes.is_empty() {
                    wire::put_bytes(out, tag::ON_RESPONSE, changes);
                }
            }),
            Origin::Run(_) if self.is_latest() => {
                context::answer(Verdict::Deliver, 0, |out| self.head.put_changes(out))
            }
            Origin::Run(_) => {
                self.assert_whole();
                context::answer(Verdict::Respond, 0, |out| self.put_whole(out));
            }
            Origin::Own => context::answer(Verdict::Respond, 0, |out| self.put_whole(out)),
        }
    }

    fn put_whole(&self, out: &mut Vec<u8>) {
        wire::put_u16(out, tag::STATUS, self.status());
        self.head.put_headers(out);
        if let Some(body) = self.head.body_here().filter(|body| !body.is_empty()) {
            wire::put_bytes(out, tag::DATA, body);
        }
    }

    fn assert_whole(&self) {
        let whole = self.head.body_here().is_some() || self.flags() & flag::NO_BODY != 0;
        assert!(
            whole,
            "a response was returned whose body went when `next.run` was called again: return the latest response, or \
             read the body with `res.body(limit).await` before the next run"
        );
    }

    fn flags(&self) -> u32 {
        wire::first_u32(&self.head.message, tag::FLAGS).unwrap_or_default()
    }

    #[inline]
    fn is_latest(&self) -> bool {
        matches!(self.origin, Origin::Run(run) if run == context::latest_run())
    }

    fn changeable(&mut self) -> &mut Head {
        let passed = matches!(self.origin, Origin::Passed { .. });
        assert!(
            !passed,
            "of what `next.pass` returns, only headers can be changed: use `next.run(&req).await` to get the response"
        );
        &mut self.head
    }
}
