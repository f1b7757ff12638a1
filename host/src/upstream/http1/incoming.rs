//! The body of a response as it arrives from an HTTP/1.1 endpoint.
//!
//! **Invariant:** the connection goes back to its pool when request and response ended cleanly, and is closed otherwise.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::{
    Connection, Line,
    decoder::{Decoded, Decoder},
    head::Malformed,
    upload::SendError,
};
use crate::body::BodyFailure;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Request(#[from] BodyFailure),
    #[error("the connection was closed before the end")]
    Closed,
}

/// A body, or what is left of it, with its connection.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// None once it was given back.
    connection: Option<Connection>,
    body: Decoder,
    keep_alive: bool,
    /// What is still being sent of the request.
    rest: Option<Rest>,
}

/// Sends the rest of a request while its answer is read.
type Rest = JoinHandle<Result<(), SendError>>;

impl Drop for Incoming {
    fn drop(&mut self) {
        self.rest.iter().for_each(Rest::abort);
    }
}

impl Incoming {
    pub(super) fn new(connection: Connection, body: Decoder, keep_alive: bool, rest: Option<Rest>) -> Self {
        Self { connection: Some(connection), body, keep_alive, rest }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_over()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.body {
            Decoder::Length(left) => SizeHint::with_exact(left),
            _ if self.body.is_over() => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let frame = ready!(self.poll_body(cx)).transpose();
        match &frame {
            Some(Err(_)) => self.connection = None,
            _ if self.body.is_over() => self.finish(),
            _ => (),
        }
        Poll::Ready(frame)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ReadError>> {
        self.poll_rest(cx)?;
        let Some(connection) = &self.connection else { return Poll::Ready(Ok(None)) };
        let wire = &mut *connection.line.wire.borrow_mut();
        loop {
            match self.body.decode(&mut wire.read)? {
                Decoded::Data(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Decoded::Trailers(trailers) => return Poll::Ready(Ok(Some(Frame::trailers(trailers)))),
                Decoded::End => return Poll::Ready(Ok(None)),
                Decoded::Nothing => (),
            }
            if ready!(wire.poll_read(cx))? == 0 {
                self.keep_alive = false;
                if !self.body.close() {
                    return Poll::Ready(Err(ReadError::Closed));
                }
            }
        }
    }

    /// Learns what became of the rest of the request. An endpoint that reads no further may still answer.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Result<(), ReadError> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        let Poll::Ready(ended) = Pin::new(rest).poll(cx) else { return Ok(()) };
        self.rest = None;
        match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(SendError::Body(failure))) => return Err(failure.into()),
            Ok(Err(SendError::Io(_) | SendError::Short)) | Err(_) => self.keep_alive = false,
        }
        Ok(())
    }

    /// The body is over: the connection may serve again.
    pub(crate) fn finish(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let sent = self.poll_rest(&mut Context::from_waker(std::task::Waker::noop())).is_ok() && self.rest.is_none();
        if sent && self.keep_alive {
            connection.give_back();
        }
    }

    /// The connection, after its endpoint switched protocols.
    pub(crate) fn into_upgraded(mut self) -> Option<Line> {
        Rc::into_inner(self.connection.take()?.line)
    }
}
