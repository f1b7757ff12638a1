//! The response body on its way to the client.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use meshup_abi::{BodyError, Outcome};
use tokio::time::Sleep;

use crate::{
    exchange::{Completion, clean_trailers},
    server::{ActiveExchange, Tunnel, stall, stall::Act},
    upstream::{AnswerBody, ReadError, Upgraded},
};

/// Where a response body comes from.
#[derive(Debug, Default)]
pub(crate) enum ResponseSource {
    /// No body.
    #[default]
    Empty,
    /// A body at hand.
    Full(Bytes),
    /// The upstream's body as it arrives.
    Upstream(AnswerBody),
    /// What a filter had read of the upstream's body, and the rest of it.
    Read(Box<ReadBody>),
    /// The upstream's connection after it switched protocols: no body.
    Switched(Box<Upgraded>),
    /// Broken off, which the client is yet to be told.
    Failed(ResponseFailure),
}

/// A body read for a filter: whole, or only its beginning when it was larger than the filter wanted.
#[derive(Debug)]
pub(crate) struct ReadBody {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    rest: Option<AnswerBody>,
    broken: bool,
}

/// Why the upstream's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseFailure {
    #[error("the upstream's response body ended early: {0}")]
    Upstream(#[from] ReadError),
    #[error("the exchange's time-out came")]
    Timeout,
    #[error("the upstream's response body ended early while a filter read it")]
    Broken,
}

impl ResponseSource {
    /// Whether nothing will come.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Empty | Self::Switched(_) => true,
            Self::Full(content) => content.is_empty(),
            Self::Upstream(answer) => answer.is_end_stream(),
            Self::Failed(_) => false,
            Self::Read(read) => {
                read.chunks.is_empty() && read.trailers.is_none() && read.rest.is_none() && !read.broken
            }
        }
    }

    /// Reads the body whole for a filter, at most `limit` bytes; it can still be delivered afterwards.
    ///
    /// # Errors
    /// [`BodyError`]: too large or broken off.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        match self {
            Self::Empty | Self::Switched(_) => Ok(Bytes::new()),
            Self::Failed(_) => Err(BodyError::Aborted),
            Self::Full(content) if content.len() > limit => Err(BodyError::TooLarge),
            Self::Full(content) => Ok(content.clone()),
            Self::Read(read) => read.read(limit).await,
            Self::Upstream(..) => {
                let Self::Upstream(rest) = std::mem::take(self) else { return Ok(Bytes::new()) };
                let mut read =
                    Box::new(ReadBody { chunks: VecDeque::new(), trailers: None, rest: Some(rest), broken: false });
                let whole = read.read(limit).await;
                *self = Self::Read(read);
                whole
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseFailure>>> {
        match self {
            Self::Empty | Self::Switched(_) => Poll::Ready(None),
            Self::Full(content) => {
                let content = std::mem::take(content);
                *self = Self::Empty;
                Poll::Ready((!content.is_empty()).then(|| Ok(Frame::data(content))))
            }
            Self::Upstream(answer) => {
                let frame = ready!(Pin::new(&mut *answer).poll_frame(cx));
                if ends(frame.as_ref()) || answer.is_end_stream() {
                    *self = Self::Empty;
                }
                Poll::Ready(frame.map(|frame| frame.map(clean).map_err(ResponseFailure::Upstream)))
            }
            Self::Read(read) => read.poll_frame(cx),
            Self::Failed(_) => {
                let Self::Failed(failure) = std::mem::take(self) else { return Poll::Ready(None) };
                Poll::Ready(Some(Err(failure)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Switched(_) => SizeHint::with_exact(0),
            Self::Full(content) => SizeHint::with_exact(content.len() as u64),
            Self::Upstream(answer) => answer.size_hint(),
            Self::Read(read) => read.size_hint(),
            Self::Failed(_) => SizeHint::default(),
        }
    }
}

/// Whether nothing follows: trailers are the last frame, and a server need not ask on behind them.
fn ends<E>(frame: Option<&Result<Frame<Bytes>, E>>) -> bool {
    frame.is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers))
}

/// Takes off trailers what may not be there.
fn clean(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(clean_trailers(trailers)),
        Err(data) => data,
    }
}

impl ReadBody {
    async fn read(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        let mut len: usize = self.chunks.iter().map(Bytes::len).sum();
        while let Some(rest) = &mut self.rest {
            if len > limit {
                return Err(BodyError::TooLarge);
            }
            match std::future::poll_fn(|cx| Pin::new(&mut *rest).poll_frame(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        len += data.len();
                        self.chunks.push_back(data);
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok().map(clean_trailers),
                },
                Some(Err(_)) => {
                    self.broken = true;
                    self.rest = None;
                }
                None => self.rest = None,
            }
        }
        if self.broken {
            return Err(BodyError::Aborted);
        }
        if len > limit {
            return Err(BodyError::TooLarge);
        }
        let mut whole = BytesMut::with_capacity(len);
        self.chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        Ok(whole.freeze())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseFailure>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if std::mem::take(&mut self.broken) {
            return Poll::Ready(Some(Err(ResponseFailure::Broken)));
        }
        if let Some(rest) = &mut self.rest {
            let frame = ready!(Pin::new(rest).poll_frame(cx));
            if ends(frame.as_ref()) {
                self.rest = None;
            }
            if frame.is_some() {
                return Poll::Ready(frame.map(|frame| frame.map(clean).map_err(ResponseFailure::Upstream)));
            }
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// Not exact where trailers follow: a message with a length has no room for them in HTTP/1.1.
    fn size_hint(&self) -> SizeHint {
        if self.rest.is_some() || self.broken || self.trailers.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.chunks.iter().map(|chunk| chunk.len() as u64).sum())
    }
}

/// The response body that the server sends: it knows when the exchange is over and how it ended.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: ResponseSource,
    deadline: Option<Pin<Box<Sleep>>>,
    completion: Option<Box<Completion>>,
    active: Option<ActiveExchange>,
}

impl ResponseBody {
    /// `source` until `deadline`; `completion` learns what happens.
    pub(crate) fn new(source: ResponseSource, deadline: Option<Pin<Box<Sleep>>>, completion: Box<Completion>) -> Self {
        Self { source, deadline, completion: Some(completion), active: None }
    }

    /// A body of an exchange that never reached a route.
    pub(crate) fn bare(source: ResponseSource) -> Self {
        Self { source, deadline: None, completion: None, active: None }
    }

    /// Counts the exchange as under way while the body lasts.
    pub(crate) fn hold(&mut self, active: ActiveExchange) {
        self.active = Some(active);
    }

    /// What goes on after this response switched protocols.
    pub(crate) fn take_tunnel(&mut self) -> Option<Tunnel> {
        let ResponseSource::Switched(switched) = std::mem::take(&mut self.source) else { return None };
        let completion = self.completion.take()?;
        Some(Tunnel { idle_timeout: completion.upgrade_idle_timeout(), upstream: *switched, completion })
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(mut completion) = self.completion.take() {
            completion.end(outcome);
        }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(completion) = &mut self.completion else { return };
        if let Some(data) = frame.data_ref() {
            completion.count(data.len());
        } else if let Some(trailers) = frame.trailers_ref() {
            completion.trailers(trailers);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseFailure>>> {
        let Poll::Ready(frame) = self.source.poll_frame(cx) else {
            stall::note(Act::Waited);
            let Some(deadline) = &mut self.deadline else { return Poll::Pending };
            ready!(deadline.as_mut().poll(cx));
            self.source = ResponseSource::Empty;
            self.end(Outcome::Timeout);
            return Poll::Ready(Some(Err(ResponseFailure::Timeout)));
        };
        stall::note(Act::Gave);
        match frame {
            Some(Ok(frame)) => {
                self.note(&frame);
                if self.source.is_end_stream() {
                    self.end(Outcome::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) if self.completion.is_none() => Poll::Ready(Some(Err(error))),
            Some(Err(error)) => {
                self.end(Outcome::UpstreamAbort);
                // Told next time: what came before it is sent first, which a reset would overtake.
                self.source = ResponseSource::Failed(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.end(Outcome::Complete);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl Drop for ResponseBody {
    /// The server drops a body that is over, and one that nobody reads any more.
    fn drop(&mut self) {
        let outcome = if self.source.is_empty() { Outcome::Complete } else { Outcome::ClientAbort };
        self.end(outcome);
    }
}
