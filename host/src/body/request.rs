//! The request body: read from the client once, sent to upstreams as often as a replay allows.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use meshup_abi::{BodyError, ErrorKind};

use super::{Permission, wait::Wait};
use crate::{cause, config::ListenerLimits, exchange::clean_trailers};

/// Why a request body could not be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFailure {
    /// The client broke off.
    #[error("the client's request body ended early")]
    ClientAbort,
    /// Its framing is wrong.
    #[error("the request body's framing is invalid")]
    Malformed,
    /// More than the listener's `max_body_bytes`.
    #[error("the request body exceeds its limit")]
    TooLarge,
    /// It stopped arriving, or took too long.
    #[error("the request body stopped arriving")]
    Stalled,
    /// A newer attempt took the body over.
    #[error("the attempt was given up")]
    Superseded,
}

impl BodyFailure {
    /// Why the server's part of the connection says that a body ended.
    fn of(error: &hyper::Error) -> Self {
        match cause::of::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Malformed,
            _ => Self::ClientAbort,
        }
    }

    /// What it means for the exchange.
    pub(crate) fn kind(self) -> ErrorKind {
        match self {
            Self::TooLarge => ErrorKind::BodyTooLarge,
            Self::Stalled => ErrorKind::BodyTimeout,
            Self::Malformed => ErrorKind::BadRequest,
            Self::ClientAbort | Self::Superseded => ErrorKind::ClientAbort,
        }
    }
}

/// The client's side of a request body: shared by the attempts that send it.
#[derive(Debug)]
pub(crate) struct RequestSource {
    incoming: RefCell<Option<Incoming>>,
    /// What was read and may be sent (again). While `recording` it is the whole body so far.
    chunks: RefCell<VecDeque<Bytes>>,
    trailers: RefCell<Option<HeaderMap>>,
    recorded_bytes: Cell<usize>,
    recording: Cell<bool>,
    replay_limit: Cell<usize>,
    max_bytes: u64,
    received: Cell<u64>,
    ended: Cell<bool>,
    failure: Cell<Option<BodyFailure>>,
    attempt: Cell<u32>,
    /// The attempt that waits for more.
    waiting: RefCell<Option<Waker>>,
    hint: SizeHint,
    /// None for what does not come from a client.
    wait: Option<Wait>,
}

impl RequestSource {
    /// A body that comes from the client, within its listener's limits, of a request that came at `started`.
    pub(crate) fn new(incoming: Incoming, limits: &ListenerLimits, started: Instant) -> Rc<Self> {
        let hint = incoming.size_hint();
        Rc::new(Self {
            ended: Cell::new(incoming.is_end_stream()),
            wait: Some(Wait::new(limits, started)),
            ..Self::empty(Some(incoming), hint, limits.max_body_bytes)
        })
    }

    /// A body that a filter wrote.
    pub(crate) fn replaced(content: Bytes) -> Rc<Self> {
        let hint = SizeHint::with_exact(content.len() as u64);
        let source = Self { ended: Cell::new(true), recording: Cell::new(true), ..Self::empty(None, hint, None) };
        if !content.is_empty() {
            source.chunks.borrow_mut().push_back(content);
        }
        Rc::new(source)
    }

    fn empty(incoming: Option<Incoming>, hint: SizeHint, max_bytes: Option<u64>) -> Self {
        Self {
            incoming: RefCell::new(incoming),
            chunks: RefCell::default(),
            trailers: RefCell::default(),
            recorded_bytes: Cell::new(0),
            recording: Cell::new(false),
            replay_limit: Cell::new(0),
            max_bytes: max_bytes.unwrap_or(u64::MAX),
            received: Cell::new(0),
            ended: Cell::new(false),
            failure: Cell::new(None),
            attempt: Cell::new(0),
            waiting: RefCell::default(),
            hint,
            wait: None,
        }
    }

    /// Body bytes received from the client so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Whether the client sent all of it.
    pub(crate) fn ended(&self) -> bool {
        self.ended.get()
    }

    /// What is left of the body may take its time: the client is being answered.
    pub(crate) fn response_began(&self) {
        if let Some(wait) = &self.wait {
            wait.end();
        }
    }

    /// Why reading from the client stopped, if it did.
    pub(crate) fn failure(&self) -> Option<BodyFailure> {
        self.failure.get()
    }

    /// Starts to keep what is sent, up to `limit` bytes, so that it can be sent again. Only before the first attempt.
    pub(crate) fn record(&self, limit: usize) {
        if self.attempt.get() == 0 {
            self.recording.set(true);
        }
        self.replay_limit.set(limit);
    }

    /// Whether another attempt would send the whole body.
    pub(crate) fn replayable(&self) -> bool {
        self.failure.get().is_none() && (self.attempt.get() == 0 || self.recording.get())
    }

    /// The body for one attempt; earlier attempts end with [`BodyFailure::Superseded`].
    pub(crate) fn attempt(self: &Rc<Self>) -> RequestBody {
        let attempt = self.attempt.get() + 1;
        self.attempt.set(attempt);
        RequestBody::Source(Attempt { source: self.clone(), attempt, next: 0, trailers_sent: false, permission: None })
    }

    /// Whether another attempt would still send the whole body, though one was begun.
    pub(crate) fn is_whole(&self) -> bool {
        self.failure.get().is_none() && (self.recording.get() || self.received.get() == 0)
    }

    /// Whether the client was not asked for any of it yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.attempt.get() == 0 && self.received.get() == 0 && !self.ended.get()
    }

    /// Ends what sends the body; what the client still sends may be read with [`Self::skip`].
    pub(crate) fn supersede(&self) {
        self.attempt.set(self.attempt.get() + 1);
        self.recording.set(false);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Reads on to the end of the body, but no more than `limit` bytes, for nobody.
    pub(crate) async fn skip(&self, limit: usize) {
        let mut left = limit;
        while let Some(Ok(data)) = std::future::poll_fn(|cx| self.poll_incoming(cx)).await {
            let Some(rest) = left.checked_sub(data.len()) else { return };
            left = rest;
        }
    }

    /// Nobody wants what is left of it: the server stops reading.
    pub(crate) fn abandon(&self) {
        if !self.ended.get() {
            self.fail(BodyFailure::Superseded);
            *self.incoming.borrow_mut() = None;
        }
    }

    /// Reads the body whole for a filter, at most `limit` bytes; it can still be sent afterwards.
    ///
    /// # Errors
    /// [`BodyError`]: too large, broken off, or already sent and not kept.
    pub(crate) async fn read(&self, limit: usize) -> Result<Bytes, BodyError> {
        if !self.replayable() {
            return Err(self.failure.get().map_or(BodyError::Gone, |_| BodyError::Aborted));
        }
        self.recording.set(true);
        while !self.ended.get() {
            if self.recorded_bytes.get() > limit {
                return Err(BodyError::TooLarge);
            }
            match std::future::poll_fn(|cx| self.poll_incoming(cx)).await {
                Some(Ok(data)) => self.keep(data),
                Some(Err(BodyFailure::TooLarge)) => return Err(BodyError::TooLarge),
                Some(Err(_)) => return Err(BodyError::Aborted),
                None => {}
            }
        }
        let chunks = self.chunks.borrow();
        let len = chunks.iter().map(Bytes::len).sum();
        if len > limit {
            return Err(BodyError::TooLarge);
        }
        Ok(join(&chunks, len))
    }

    fn keep(&self, data: Bytes) {
        self.recorded_bytes.set(self.recorded_bytes.get() + data.len());
        self.chunks.borrow_mut().push_back(data);
    }

    /// The next data from the client; `None` at its end. Trailers are put aside.
    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        if let Some(failure) = self.failure.get() {
            return Poll::Ready(Some(Err(failure)));
        }
        let mut incoming = self.incoming.borrow_mut();
        let Some(body) = incoming.as_mut() else { return Poll::Ready(None) };
        loop {
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else { return self.poll_wait(cx) };
            if let Some(wait) = &self.wait {
                wait.arrived();
            }
            let frame = match frame {
                None => {
                    self.ended.set(true);
                    *incoming = None;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.fail(BodyFailure::of(&error))))),
                Some(Ok(frame)) => frame,
            };
            // A body of known length has no end beyond its last byte that anyone would ask for.
            self.ended.set(body.is_end_stream());
            match frame.into_data() {
                Ok(data) => return Poll::Ready(Some(self.count(data))),
                Err(frame) => *self.trailers.borrow_mut() = frame.into_trailers().ok().map(clean_trailers),
            }
        }
    }

    /// Nothing came: for how long yet?
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        let Some(wait) = &self.wait else { return Poll::Pending };
        wait.poll(cx).map(|()| Some(Err(self.fail(BodyFailure::Stalled))))
    }

    fn count(&self, data: Bytes) -> Result<Bytes, BodyFailure> {
        let received = self.received.get() + data.len() as u64;
        self.received.set(received);
        if received > self.max_bytes { Err(self.fail(BodyFailure::TooLarge)) } else { Ok(data) }
    }

    fn fail(&self, failure: BodyFailure) -> BodyFailure {
        self.failure.set(Some(failure));
        failure
    }

    /// Data just read for an attempt: kept while a replay may need it.
    fn pass_on(&self, data: &Bytes) -> bool {
        if !self.recording.get() {
            return false;
        }
        if self.recorded_bytes.get() + data.len() > self.replay_limit.get() {
            self.recording.set(false);
            self.chunks.borrow_mut().clear();
            return false;
        }
        self.keep(data.clone());
        true
    }
}

fn join(chunks: &VecDeque<Bytes>, len: usize) -> Bytes {
    match chunks.len() {
        0 => Bytes::new(),
        1 => chunks.front().cloned().unwrap_or_default(),
        _ => {
            let mut whole = BytesMut::with_capacity(len);
            chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
            whole.freeze()
        }
    }
}

/// A request body as an upstream connection sends it.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// No body.
    Empty,
    /// A body at hand.
    Full(Bytes),
    /// The client's body.
    Source(Attempt),
}

/// One attempt to send the client's body.
#[derive(Debug)]
pub(crate) struct Attempt {
    source: Rc<RequestSource>,
    attempt: u32,
    next: usize,
    trailers_sent: bool,
    /// What must be heard from the upstream first.
    permission: Option<Permission>,
}

impl Attempt {
    pub(crate) fn source(&self) -> Rc<RequestSource> {
        self.source.clone()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let source = self.source.clone();
        if source.attempt.get() != self.attempt {
            return Poll::Ready(Some(Err(BodyFailure::Superseded)));
        }
        if let Some(permission) = &mut self.permission {
            ready!(permission.poll(cx));
            self.permission = None;
        }
        if let Some(chunk) = self.kept_chunk() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if !source.ended.get() {
            let Poll::Ready(read) = source.poll_incoming(cx) else {
                *source.waiting.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            };
            match read {
                Some(Ok(data)) => {
                    if source.pass_on(&data) {
                        self.next += 1;
                    } else {
                        self.next = 0;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => {}
            }
        }
        Poll::Ready(self.trailers().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn kept_chunk(&mut self) -> Option<Bytes> {
        let mut chunks = self.source.chunks.borrow_mut();
        if !self.source.recording.get() {
            return chunks.pop_front();
        }
        let chunk = chunks.get(self.next).cloned()?;
        self.next += 1;
        Some(chunk)
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        if std::mem::replace(&mut self.trailers_sent, true) {
            return None;
        }
        self.source.trailers.borrow().clone()
    }

    fn is_end_stream(&self) -> bool {
        let source = &self.source;
        let sent = if source.recording.get() {
            self.next >= source.chunks.borrow().len()
        } else {
            source.chunks.borrow().is_empty()
        };
        sent && source.ended.get() && (self.trailers_sent || source.trailers.borrow().is_none())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(content) => {
                let content = std::mem::take(content);
                *self = Self::Empty;
                Poll::Ready((!content.is_empty()).then(|| Ok(Frame::data(content))))
            }
            Self::Source(attempt) => attempt.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(content) => content.is_empty(),
            Self::Source(attempt) => attempt.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(content) => SizeHint::with_exact(content.len() as u64),
            Self::Source(attempt) => attempt.source.hint,
        }
    }
}

impl RequestBody {
    /// The client's body, where this is an attempt to send it.
    pub(crate) fn source(&self) -> Option<Rc<RequestSource>> {
        match self {
            Self::Source(attempt) => Some(attempt.source()),
            Self::Empty | Self::Full(_) => None,
        }
    }

    /// Has the body wait until the upstream permits it.
    pub(crate) fn wait_for(&mut self, permission: Permission) {
        if let Self::Source(attempt) = self {
            attempt.permission = Some(permission);
        }
    }

    /// The upstream permits it.
    pub(crate) fn permit(&mut self) {
        if let Self::Source(attempt) = self {
            attempt.permission = None;
        }
    }
}
