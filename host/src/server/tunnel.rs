//! A connection after its upgrade: bytes both ways, until both sides said all or nobody says anything.
//!
//! It knows nothing of the protocol inside. A side that is slow to take bytes slows the other down: at most one buffer
//! is under way per direction.
//!
//! **Invariant:** bytes come out as they went in, in order, and the end of one direction is passed on as such.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use meshup_abi::Outcome;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ActiveExchange;
use crate::{exchange::Completion, upstream::Upgraded};

/// What is read at a time, per direction.
const BUFFER: usize = 8 * 1024;

/// An upgraded exchange: all of it but the client's connection.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub upstream: Upgraded,
    pub completion: Box<Completion>,
    pub idle_timeout: Duration,
}

/// Which side broke.
enum Broken {
    Client,
    Upstream,
    Idle,
}

impl Tunnel {
    /// Copies until both directions ended, one side broke, or nothing moved for too long. `early` is what the client
    /// sent before it saw the answer.
    pub(super) async fn run<S>(self, client: S, early: Vec<u8>, _active: ActiveExchange)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { mut upstream, mut completion, idle_timeout } = self;
        let (stream, greeting) = upstream.parts();
        let mut pair = Pair { up: Flow::new(early), down: Flow::new(greeting.into()), client, upstream: stream };
        let ended = pair.copy(idle_timeout).await;
        completion.tunnelled(pair.up.bytes, pair.down.bytes);
        completion.end(match ended {
            Ok(()) => Outcome::Complete,
            Err(Broken::Client) => Outcome::ClientAbort,
            Err(Broken::Upstream) => Outcome::UpstreamAbort,
            Err(Broken::Idle) => Outcome::Timeout,
        });
    }
}

/// Both directions.
struct Pair<C, U> {
    client: C,
    upstream: U,
    up: Flow,
    down: Flow,
}

impl<C: AsyncRead + AsyncWrite + Unpin, U: AsyncRead + AsyncWrite + Unpin> Pair<C, U> {
    async fn copy(&mut self, idle_timeout: Duration) -> Result<(), Broken> {
        let mut last = Instant::now();
        let mut timer = pin!(tokio::time::sleep(idle_timeout));
        std::future::poll_fn(|cx| {
            let before = self.bytes();
            let copied = self.poll_copy(cx);
            if copied.is_ready() {
                return copied;
            }
            if self.bytes() != before {
                last = Instant::now();
            }
            while timer.as_mut().poll(cx).is_ready() {
                if last.elapsed() >= idle_timeout {
                    return Poll::Ready(Err(Broken::Idle));
                }
                timer.as_mut().reset((last + idle_timeout).into());
            }
            Poll::Pending
        })
        .await
    }

    fn bytes(&self) -> u64 {
        self.up.bytes + self.down.bytes
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let up = self.up.poll_copy(cx, &mut self.client, &mut self.upstream);
        let down = self.down.poll_copy(cx, &mut self.upstream, &mut self.client);
        match (up, down) {
            (Poll::Ready(Err(End::Source)), _) | (_, Poll::Ready(Err(End::Sink))) => Poll::Ready(Err(Broken::Client)),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(Err(Broken::Upstream)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// Where a direction failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Sink,
}

/// One direction.
struct Flow {
    buffer: Vec<u8>,
    /// What of the buffer waits to be written.
    waiting: std::ops::Range<usize>,
    unflushed: bool,
    source_ended: bool,
    ended: bool,
    bytes: u64,
}

impl Flow {
    fn new(mut beginning: Vec<u8>) -> Self {
        let waiting = 0..beginning.len();
        beginning.resize(beginning.len().max(BUFFER), 0);
        Self { buffer: beginning, waiting, unflushed: false, source_ended: false, ended: false, bytes: 0 }
    }

    fn poll_copy<R, W>(&mut self, cx: &mut Context<'_>, source: &mut R, sink: &mut W) -> Poll<Result<(), End>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.ended {
            ready!(self.poll_write(cx, sink)).map_err(|_| End::Sink)?;
            if self.source_ended {
                ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(|_| End::Sink)?;
                self.ended = true;
            } else if let Poll::Ready(read) = self.poll_read(cx, source) {
                read.map_err(|_| End::Source)?;
            } else {
                return self.poll_flush(cx, sink);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, source: &mut R) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(source).poll_read(cx, &mut buffer))?;
        self.waiting = 0..buffer.filled().len();
        self.source_ended = self.waiting.is_empty();
        Poll::Ready(Ok(()))
    }

    fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, sink: &mut W) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let bytes = self.buffer.get(self.waiting.clone()).unwrap_or_default();
            let written = ready!(Pin::new(&mut *sink).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.start += written;
            self.bytes += written as u64;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// While nothing comes, what was written leaves every buffer.
    fn poll_flush<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, sink: &mut W) -> Poll<Result<(), End>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx)).map_err(|_| End::Sink)?;
            self.unflushed = false;
        }
        Poll::Pending
    }
}
