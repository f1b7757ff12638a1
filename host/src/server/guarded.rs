//! A client's byte stream under guard: what was read to learn its protocol, then the rest, and the rules of HTTP/1 about
//! what the parser may have of it and when.
//!
//! It understands no byte: [`Guard`] does, and [`Frames`] those of HTTP/2.
//!
//! **Invariant:** behind a message that is refused, and behind a request for an upgrade until it is answered, the parser
//! gets nothing.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{frames::Frames, guard::Guard, link::Link, preface::Beginning};
use crate::transport::Transport;

/// What a refused message ends with: the parser may wait for the end of a head before it looks at what is wrong in it,
/// and takes NUL in a chunk's extension, but no CR that stands alone.
const ENDING: &[u8] = b"\0\r\0\r\n\r\n";

/// How long a client that closed its side may take no byte of its answer before it is taken for gone.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// How long an HTTP/2 client may take to close its side after everything was said.
const LINGER: Duration = Duration::from_secs(1);
/// What is read ahead behind a request for an upgrade.
const HELD: usize = 4096;

/// A client's byte stream: what was read to learn its protocol, then the rest; guarded when it is HTTP/1.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    beginning: Option<Box<Beginning>>,
    watch: Watch,
    /// The parser got [`ENDING`]; nothing follows.
    ended: bool,
    link: Rc<Link>,
    /// Bytes that the parser may not have yet.
    held: Vec<u8>,
    /// The client sends nothing more, but its exchange goes on: until when.
    half_closed: Option<Pin<Box<Sleep>>>,
    /// Everything is said, and what an HTTP/2 client still says is dropped: until when.
    lingering: Option<Pin<Box<Sleep>>>,
}

/// Who looks at what is read.
#[derive(Debug)]
enum Watch {
    Http1(Guard),
    Http2(Box<Frames>),
}

impl<S> Guarded<S> {
    /// That of an HTTP/1 client.
    pub(super) fn http1(stream: S, beginning: Beginning, link: Rc<Link>) -> Self {
        Self::new(stream, beginning, Watch::Http1(Guard::new()), link)
    }

    /// That of an HTTP/2 client, which may send so many frames without work.
    pub(super) fn http2(stream: S, beginning: Beginning, max_control_frames: u32, link: Rc<Link>) -> Self {
        let frames = Box::new(Frames::new(max_control_frames));
        Self::new(stream, beginning, Watch::Http2(frames), link)
    }

    fn new(stream: S, beginning: Beginning, watch: Watch, link: Rc<Link>) -> Self {
        Self {
            stream,
            beginning: Some(Box::new(beginning)),
            watch,
            ended: false,
            link,
            held: Vec::new(),
            half_closed: None,
            lingering: None,
        }
    }

    /// The stream and what was read of it but not handed on.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held)
    }

    fn guard(&self) -> Option<&Guard> {
        match &self.watch {
            Watch::Http1(guard) => Some(guard),
            Watch::Http2(_) => None,
        }
    }

    /// Whether the client may still be sending what nobody reads.
    pub(super) fn has_unread(&self) -> bool {
        self.half_closed.is_none() && self.guard().is_some_and(|guard| !guard.is_between_messages())
    }

    /// Whether the guard refused a message.
    fn is_refused(&self) -> bool {
        self.guard().is_some_and(|guard| guard.refused().is_some())
    }

    /// The length of the request line that came last, or of what has come of it.
    pub(super) fn request_line(&self) -> usize {
        self.guard().map_or(0, Guard::request_line)
    }

    /// Whether what follows may not be handed on yet.
    fn is_held(&mut self) -> bool {
        let Watch::Http1(guard) = &mut self.watch else { return false };
        if !guard.is_held() {
            return false;
        }
        if self.link.take_released() {
            guard.release();
            return false;
        }
        true
    }

    /// Looks at the frames in what was read behind `before`; drops what is too much.
    fn inspect_frames(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Watch::Http2(frames) = &mut self.watch else { return Ok(()) };
        let allowed = frames.inspect(buf.filled().get(before..).unwrap_or_default())?;
        buf.set_filled(before + allowed);
        Ok(())
    }

    /// Looks at what was read behind `before`; puts aside what has to wait.
    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let Watch::Http1(guard) = &mut self.watch else { return };
        let Some(bytes) = buf.filled_mut().get_mut(before..) else { return };
        let allowed = guard.inspect(bytes);
        self.link.pace.head(guard.in_head());
        self.link.between.set(guard.is_between_messages());
        if guard.is_held() {
            self.link.hold();
            self.held.splice(0..0, bytes.get(allowed..).unwrap_or_default().iter().copied());
            buf.set_filled(before + allowed);
        }
    }
}

impl Guarded<Transport> {
    /// Waits for something to read. Only for a stream that was read until there was nothing.
    pub(super) async fn readable(&self) {
        std::future::poll_fn(|cx| self.stream.poll_readable(cx)).await;
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Drops what still comes until the client closes its side, or has had its time: a socket closed over unread bytes is
    /// reset, and the client would lose answers that are on their way.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timer = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut dropped = [0; 1024];
        loop {
            let mut dropped = ReadBuf::new(&mut dropped);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut dropped));
            if read.is_err() || dropped.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads from what was put aside, or from the socket.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = self.held.len().min(buf.remaining());
        buf.put_slice(self.held.get(..len).unwrap_or_default());
        self.held.drain(..len);
        Poll::Ready(Ok(()))
    }

    /// Reads a little ahead of the answer to a request for an upgrade, to see whether the client is still there.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.park_reader(cx);
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        self.held.resize(HELD, 0);
        let mut ahead = ReadBuf::new(&mut self.held);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut ahead);
        let len = ahead.filled().len();
        self.held.truncate(len);
        match read {
            Poll::Ready(Ok(())) if len > 0 => Poll::Pending,
            read => read,
        }
    }

    /// The client sends nothing more. While an exchange goes on it may still want its answer: the end is told once
    /// that is written, or when the client takes nothing of it for too long.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let between = self.guard().is_some_and(Guard::is_between_messages);
        if !between || (self.link.exchanges.get() == 0 && !self.link.unflushed.get()) {
            return Poll::Ready(Ok(()));
        }
        self.link.park_reader(cx);
        let patience = self.half_closed.get_or_insert_with(|| Box::pin(tokio::time::sleep(HALF_CLOSED)));
        patience.as_mut().poll(cx).map(Ok)
    }

    /// The client took some of its answer.
    #[inline]
    fn note_progress(&mut self, written: &Poll<io::Result<usize>>, slices: &[io::IoSlice<'_>]) {
        let Poll::Ready(Ok(written)) = written else { return };
        if let Watch::Http2(frames) = &mut self.watch {
            self.link.refused(frames.wrote(slices, *written));
        }
        if let Some(patience) = &mut self.half_closed {
            patience.as_mut().reset((Instant::now() + HALF_CLOSED).into());
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_refused() {
            if !self.ended && buf.remaining() >= ENDING.len() {
                self.ended = true;
                buf.put_slice(ENDING);
            }
            return Poll::Ready(Ok(()));
        }
        if let Watch::Http2(frames) = &mut self.watch
            && frames.is_spent()
        {
            frames.put_block(buf);
            self.link.spent.set(true);
            return Poll::Ready(Ok(()));
        }
        if self.half_closed.is_some() {
            return self.poll_end(cx);
        }
        if self.is_held() {
            return self.poll_held(cx);
        }
        let before = buf.filled().len();
        match &self.beginning {
            Some(beginning) if buf.remaining() >= beginning.bytes().len() => {
                buf.put_slice(beginning.bytes());
                self.beginning = None;
            }
            Some(_) => return Poll::Ready(Err(io::ErrorKind::InvalidInput.into())),
            None => ready!(self.poll_bytes(cx, buf))?,
        }
        if buf.filled().len() == before {
            return self.poll_end(cx);
        }
        self.inspect_frames(buf, before)?;
        self.inspect(buf, before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.link.unflushed.set(true);
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_progress(&written, &[io::IoSlice::new(bytes)]);
        self.link.pace.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.link.pace.wrote(flushed))?;
        if self.link.unflushed.replace(false) && self.half_closed.is_some() {
            self.link.wake_reader();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.link.pace.wrote(closed))?;
            if self.guard().is_some() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.unflushed.set(true);
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_progress(&written, slices);
        self.link.pace.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
