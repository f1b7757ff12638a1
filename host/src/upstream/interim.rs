//! A look at what an HTTP/1 upstream sends before its answer: interim responses (1xx, RFC 9110 section 15.2). hyper reads
//! over as many as come; this ends the connection when there are too many.
//!
//! It changes no byte and does not understand what follows an interim response.
//!
//! **Invariant:** an answer without interim responses costs one comparison per read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many interim responses an upstream may send for one request.
const MAX_INTERIM: u32 = 32;
/// What one begins with; the byte before the `1` stands for the minor version.
const START: &[u8] = b"HTTP/1.? 1";
const END: &[u8] = b"\r\n\r\n";

/// Too many interim responses.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_INTERIM} interim responses")]
pub(super) struct TooMany;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Where a head may begin; so much of [`START`] was there.
    Start(usize),
    /// In an interim response; so much of [`END`] was there.
    Interim(usize),
    /// In the answer itself.
    Answer,
}

/// Counts interim responses.
#[derive(Debug)]
struct Counter {
    state: State,
    seen: u32,
}

impl Counter {
    /// A request is being sent.
    fn begin(&mut self) {
        if self.state == State::Answer {
            *self = Self { state: State::Start(0), seen: 0 };
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), TooMany> {
        for &byte in bytes {
            self.state = match self.state {
                State::Answer => return Ok(()),
                State::Start(at) if START.get(at).is_some_and(|&expected| expected == byte || expected == b'?') => {
                    if at + 1 == START.len() { self.interim()? } else { State::Start(at + 1) }
                }
                State::Start(_) => State::Answer,
                State::Interim(at) => match (END.get(at) == Some(&byte), byte) {
                    (true, _) if at + 1 == END.len() => State::Start(0),
                    (true, _) => State::Interim(at + 1),
                    (false, b'\r') => State::Interim(1),
                    (false, _) => State::Interim(0),
                },
            };
        }
        Ok(())
    }

    fn interim(&mut self) -> Result<State, TooMany> {
        self.seen += 1;
        if self.seen > MAX_INTERIM { Err(TooMany) } else { Ok(State::Interim(0)) }
    }
}

/// An upstream's byte stream.
#[derive(Debug)]
pub(super) struct Interim<S> {
    stream: S,
    counter: Counter,
}

impl<S> Interim<S> {
    pub(super) fn over(stream: S) -> Self {
        Self { stream, counter: Counter { state: State::Start(0), seen: 0 } }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Interim<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.counter.state != State::Answer {
            let bytes = buf.filled().get(before..).unwrap_or_default();
            self.counter.read(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Interim<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.counter.begin();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.counter.begin();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(stream: &str, piece: usize) -> Result<u32, ()> {
        let mut counter = Counter { state: State::Start(0), seen: 0 };
        for bytes in stream.as_bytes().chunks(piece) {
            counter.read(bytes).map_err(drop)?;
        }
        Ok(counter.seen)
    }

    #[test]
    fn interim_responses_are_counted_up_to_the_limit() {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let answer = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 in a body\r\n\r\n";
        for piece in [1, 2, 7, 4096] {
            for (hints, expected) in [(0, Ok(0)), (3, Ok(3)), (32, Ok(32)), (33, Err(()))] {
                assert_eq!(count(&(hint.repeat(hints) + answer), piece), expected, "{hints} in pieces of {piece}");
            }
        }
    }
}
