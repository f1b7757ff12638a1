//! The body of an endpoint's answer, with the hold on its connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{endpoint::Busy, http1, http2};
use crate::transport::Transport;

/// A body as it arrives. Dropping it before its end closes an HTTP/1.1 connection and resets an HTTP/2 stream.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    carrier: Carrier,
    busy: Busy,
}

#[derive(Debug)]
pub(super) enum Carrier {
    /// An HTTP/1.1 connection, held alone.
    Http1(http1::Incoming),
    /// A stream of an HTTP/2 connection.
    Http2 { incoming: hyper::body::Incoming, _counted: http2::Stream },
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Http1(#[from] http1::ReadError),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// A connection that its endpoint switched to another protocol, counted as one of the endpoint's.
#[derive(Debug)]
pub(crate) struct Upgraded {
    line: http1::Line,
    _busy: Busy,
}

impl Upgraded {
    /// The stream, and what was read of it already.
    pub(crate) fn parts(&mut self) -> (&mut Transport, Bytes) {
        self.line.upgraded()
    }
}

impl AnswerBody {
    pub(super) fn new(carrier: Carrier, busy: Busy) -> Self {
        Self { carrier, busy }
    }

    /// The answer is read to its end: an HTTP/1.1 connection may serve again.
    pub(crate) fn finish(mut self) {
        if let Carrier::Http1(incoming) = &mut self.carrier {
            incoming.finish();
        }
    }

    /// The connection, where the answer switched protocols.
    pub(crate) fn into_upgraded(self) -> Option<Upgraded> {
        let Self { carrier: Carrier::Http1(incoming), busy } = self else { return None };
        Some(Upgraded { line: incoming.into_upgraded()?, _busy: busy })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        match &mut self.carrier {
            Carrier::Http1(incoming) => incoming.poll_frame(cx).map(|frame| frame.map(|frame| Ok(frame?))),
            Carrier::Http2 { incoming, .. } => {
                Pin::new(incoming).poll_frame(cx).map(|frame| frame.map(|frame| Ok(frame?)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.carrier {
            Carrier::Http1(incoming) => incoming.is_end_stream(),
            Carrier::Http2 { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.carrier {
            Carrier::Http1(incoming) => incoming.size_hint(),
            Carrier::Http2 { incoming, .. } => incoming.size_hint(),
        }
    }
}
