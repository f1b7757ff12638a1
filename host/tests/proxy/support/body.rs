//! Bodies that tests send: at hand, with trailers, or fed frame by frame.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use tokio::sync::mpsc;

pub(crate) type BodyError = std::io::Error;
pub(crate) type Body = BoxBody<Bytes, BodyError>;

fn never(error: Infallible) -> BodyError {
    match error {}
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(never).boxed()
}

pub(crate) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(never).boxed()
}

/// `content` of unknown length and a field behind it.
pub(crate) fn with_trailers(content: impl Into<Bytes>, name: &'static str, value: &'static str) -> Body {
    let (mut feed, body) = channel();
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    feed.push(Frame::data(content.into()));
    feed.push(Frame::trailers(trailers));
    body
}

/// A body that is fed while it is sent; it ends when the feed is dropped.
pub(crate) fn channel() -> (Feed, Body) {
    let (sender, frames) = mpsc::channel(4);
    (Feed(sender), Fed(frames).boxed())
}

/// The other end of a body.
pub(crate) struct Feed(mpsc::Sender<Result<Frame<Bytes>, BodyError>>);

impl Feed {
    fn push(&mut self, frame: Frame<Bytes>) {
        self.0.try_send(Ok(frame)).unwrap();
    }

    /// Waits until there is room; false when nobody reads any more.
    pub(crate) async fn send(&self, content: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(content.into()))).await.is_ok()
    }

    pub(crate) async fn trailers(&self, trailers: HeaderMap) -> bool {
        self.0.send(Ok(Frame::trailers(trailers))).await.is_ok()
    }

    /// Breaks the body off.
    pub(crate) async fn fail(self) {
        let _ = self.0.send(Err(std::io::Error::other("broken off by the test"))).await;
    }

    /// Until nobody reads any more.
    pub(crate) async fn abandoned(&self) {
        self.0.closed().await;
    }
}

struct Fed(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx)
    }
}
