//! The byte stream to an HTTP/1.1 endpoint, with what was read ahead of its use and what waits to be sent.
//!
//! **Invariant:** a connection that rests keeps no block of what it read.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// How much is read at once; it is copied into a block of just its size.
const READ: usize = 16 * 1024;
/// How much is read at once where that much was there the last time, without a copy: all of it waits where a client is
/// slow.
const BULK: usize = 32 * 1024;
/// What a connection keeps of its room for what it sends.
const KEPT_CAPACITY: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Wire {
    stream: Transport,
    /// Read, and not used yet.
    pub read: Bytes,
    /// The last read had all the room it was given.
    brimful: bool,
    /// The last read was a large one.
    bulk: bool,
    /// Lines to be sent, and how much of them was.
    lines: Vec<u8>,
    sent: usize,
    /// Something was sent since the last request began.
    pub begun: bool,
    unflushed: bool,
    /// Who waits for the departure of what is to be sent.
    departing: Option<Waker>,
}

/// What follows the lines that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Behind {
    pub data: Bytes,
    pub end: &'static [u8],
}

impl Behind {
    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.end.is_empty()
    }

    fn advance(&mut self, count: usize) {
        let of_data = count.min(self.data.len());
        if of_data < self.data.len() {
            self.data.advance(of_data);
        } else {
            self.data = Bytes::new();
        }
        self.end = self.end.get(count - of_data..).unwrap_or_default();
    }
}

impl Wire {
    pub(super) fn new(stream: Transport) -> Self {
        Self {
            stream,
            read: Bytes::new(),
            brimful: false,
            bulk: false,
            lines: Vec::new(),
            sent: 0,
            begun: false,
            unflushed: false,
            departing: None,
        }
    }

    /// Whether a connection that rests is open, and its peer has said nothing.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.read.is_empty() && self.stream.is_quiet()
    }

    /// An exchange is over: false where more was read than belongs to it.
    pub(super) fn rest(&mut self) -> bool {
        (self.brimful, self.bulk) = (false, false);
        if self.lines.capacity() > KEPT_CAPACITY {
            self.lines = Vec::new();
        }
        std::mem::take(&mut self.read).is_empty()
    }

    /// What is left of it after an upgrade: the stream, and what was read ahead.
    pub(super) fn upgraded(&mut self) -> (&mut Transport, Bytes) {
        (&mut self.stream, std::mem::take(&mut self.read))
    }

    /// Reads more behind what is there: how many bytes, 0 at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.brimful && self.read.is_empty() {
            return self.poll_read_bulk(cx);
        }
        let mut block = [MaybeUninit::uninit(); READ];
        let mut block = ReadBuf::uninit(&mut block);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut block))?;
        let more = block.filled();
        self.brimful = more.len() == READ;
        self.read =
            if self.read.is_empty() { Bytes::copy_from_slice(more) } else { [&self.read, more].concat().into() };
        Poll::Ready(Ok(more.len()))
    }

    /// One large block, then a pause in which it is sent on while the core has it in its caches.
    fn poll_read_bulk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.bulk) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut block = BytesMut::with_capacity(BULK);
        let count = ready!(pin!(self.stream.read_buf(&mut block)).poll(cx))?;
        (self.brimful, self.bulk) = (count >= READ, true);
        self.read = block.freeze();
        Poll::Ready(Ok(count))
    }

    /// Room for lines, behind those that were not sent yet.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        if self.sent == self.lines.len() {
            self.lines.clear();
            self.sent = 0;
        }
        &mut self.lines
    }

    /// Sends nothing before [`Self::depart`].
    pub(super) fn depart_later(&mut self) {
        self.departing = Some(Waker::noop().clone());
    }

    /// Sends what was held back; who waits for that goes on with what is left.
    pub(super) fn depart(&mut self) {
        let Some(waiting) = self.departing.take() else { return };
        let mut cx = Context::from_waker(Waker::noop());
        let sent = self.poll_send(&mut cx, &mut Behind::default());
        if !matches!(sent, Poll::Ready(Ok(()))) || !matches!(self.poll_flush(&mut cx), Poll::Ready(Ok(()))) {
            waiting.wake();
        }
    }

    /// Begins another request.
    pub(super) fn begin(&mut self) {
        self.lines.clear();
        (self.sent, self.begun, self.departing) = (0, false, None);
    }

    /// Sends the lines and what is behind them, flushed by [`Self::poll_flush`].
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, behind: &mut Behind) -> Poll<io::Result<()>> {
        if let Some(departing) = &mut self.departing {
            departing.clone_from(cx.waker());
            return Poll::Pending;
        }
        loop {
            let lines = self.lines.get(self.sent..).unwrap_or_default();
            let stream = Pin::new(&mut self.stream);
            let sent = match (lines.is_empty(), behind.is_empty()) {
                (true, true) => return Poll::Ready(Ok(())),
                (false, true) => stream.poll_write(cx, lines),
                _ => {
                    let slices = [lines, &behind.data, behind.end].map(IoSlice::new);
                    stream.poll_write_vectored(cx, &slices)
                }
            };
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_lines = sent.min(lines.len());
            self.sent += of_lines;
            behind.advance(sent - of_lines);
            (self.begun, self.unflushed) = (true, true);
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stream.say_goodbye();
    }
}
