//! A request on its way to an HTTP/1.1 endpoint.
//!
//! **Invariant:** what its head announces is what is sent, or the connection carries nothing after it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body, Frame};
use meshup_abi::ErrorKind;

use super::{
    head,
    wire::{Behind, Wire},
};
use crate::body::{BodyFailure, RequestBody};

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked,
}

/// Why a request was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Body(#[from] BodyFailure),
    #[error("the request body is shorter than announced")]
    Short,
}

impl SendError {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Body(failure) => failure.kind(),
            Self::Io(_) | Self::Short => ErrorKind::Reset,
        }
    }
}

#[derive(Debug)]
pub(super) struct Upload {
    body: RequestBody,
    framing: Framing,
    /// What of the body is under way.
    behind: Behind,
    /// Some of the body was taken.
    touched: bool,
    /// All of it was.
    taken: bool,
    /// Everything was sent.
    done: bool,
    /// Sending it twice does no harm: it has no body and its method is idempotent (RFC 9110 section 9.2.2).
    harmless: bool,
    pub answers_head: bool,
}

impl Upload {
    /// Begins to send a request; its body is taken out of it.
    pub(super) fn begin(request: &mut Request<RequestBody>, wire: &mut Wire) -> Self {
        let framing = head::frame(request);
        wire.begin();
        head::write(request, wire.lines());
        let idempotent = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        );
        let answers_head = request.method() == Method::HEAD;
        let body = std::mem::replace(request.body_mut(), RequestBody::Empty);
        Self {
            harmless: idempotent && matches!(body, RequestBody::Empty),
            taken: framing == Framing::Length(0),
            body,
            framing,
            behind: Behind::default(),
            touched: false,
            done: false,
            answers_head,
        }
    }

    /// The body once more, if the request may go to another connection after this one broke without an answer.
    pub(super) fn again(self, wire: &Wire) -> Option<RequestBody> {
        (self.harmless || !self.touched && !wire.begun).then_some(self.body)
    }

    /// Whether nothing of a body is left to be taken.
    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The upstream wants the body.
    pub(super) fn permit(&mut self) {
        self.body.permit();
    }

    /// Sends on, until all was sent.
    pub(super) fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while !self.done {
            if !self.taken && self.behind.is_empty() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(frame) => self.take(frame.transpose()?, wire)?,
                    Poll::Pending => {
                        ready!(wire.poll_send(cx, &mut self.behind))?;
                        ready!(wire.poll_flush(cx))?;
                        return Poll::Pending;
                    }
                }
            }
            ready!(wire.poll_send(cx, &mut self.behind))?;
            if self.taken {
                ready!(wire.poll_flush(cx))?;
                self.done = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Frames what the body gave.
    fn take(&mut self, frame: Option<Frame<Bytes>>, wire: &mut Wire) -> Result<(), SendError> {
        self.touched = true;
        let (data, trailers) = match frame.map(Frame::into_data) {
            Some(Ok(data)) => (Some(data), None),
            Some(Err(frame)) => (None, frame.into_trailers().ok()),
            None => (None, None),
        };
        let ended = data.is_none() || self.body.is_end_stream();
        let mut data = data.unwrap_or_default();
        match &mut self.framing {
            Framing::Length(left) => {
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                self.taken = *left == 0;
                if ended && !self.taken {
                    return Err(SendError::Short);
                }
                self.behind.data = data;
            }
            Framing::Chunked => {
                self.taken = ended;
                let lines = wire.lines();
                if !data.is_empty() {
                    write_size(data.len(), lines);
                    self.behind = Behind { data, end: if ended { b"\r\n0\r\n\r\n" } else { b"\r\n" } };
                } else if ended {
                    lines.extend_from_slice(b"0\r\n");
                    trailers.iter().for_each(|trailers| head::write_fields(trailers, lines));
                    lines.extend_from_slice(b"\r\n");
                }
            }
        }
        Ok(())
    }
}

/// The line before a chunk.
fn write_size(size: usize, lines: &mut Vec<u8>) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4);
    let digit = |at: u32| b"0123456789abcdef".get(size >> (4 * at) & 0xf).copied();
    lines.extend((0..digits).rev().filter_map(digit));
    lines.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_chunks() {
        for size in [1, 9, 10, 15, 16, 255, 256, 4096, 0x00ab_cdef, usize::MAX] {
            let mut lines = Vec::new();
            write_size(size, &mut lines);
            assert_eq!(String::from_utf8(lines).unwrap(), format!("{size:x}\r\n"));
        }
    }
}
