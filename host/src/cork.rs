//! What a task writes to an HTTP/2 connection in one turn, sent together.
//!
//! The HTTP/2 library flushes behind each frame of data, so that responses of many streams would be sent one by one, though
//! they are written by the same poll of the connection. Here such small writes gather until that poll is over. It understands
//! no byte and has no timer: nothing waits for anything but the end of the turn.
//!
//! **Invariant:** what a peer does not take is told to the writer, as the socket would: while something is left of an earlier
//! turn, writes and flushes wait.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker, ready},
};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes gather at most; what is longer is not copied. So much a connection may keep, too, of what its peer does not
/// take.
const ROOM: usize = 64 * 1024;

thread_local! {
    /// A buffer that no connection needs at the moment: most need one for the length of a turn.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A byte stream that may have taken more than it has sent.
pub(crate) trait Outbox: AsyncWrite {
    /// Bytes sent so far of what was taken ahead; 0 for ever where nothing is.
    fn sent(&self) -> u64;
}

/// A byte stream whose small writes are sent when the turn ends.
#[derive(Debug)]
pub(crate) struct Corked<S>(Rc<RefCell<Cork<S>>>);

/// The turns of a stream's writer; they do not keep the stream open.
#[derive(Debug)]
pub(crate) struct Turns<S>(Weak<RefCell<Cork<S>>>);

#[derive(Debug)]
struct Cork<S> {
    stream: S,
    kept: Vec<u8>,
    /// How much of `kept` was sent.
    sent: usize,
    /// The peer did not take all of an earlier turn.
    behind: bool,
    /// It took some while it was behind.
    took: bool,
    /// Wakes who writes.
    writer: Waker,
}

impl<S> Corked<S> {
    pub(crate) fn new(stream: S) -> Self {
        let writer = Waker::noop().clone();
        Self(Rc::new(RefCell::new(Cork { stream, kept: Vec::new(), sent: 0, behind: false, took: false, writer })))
    }

    pub(crate) fn turns(&self) -> Turns<S> {
        Turns(Rc::downgrade(&self.0))
    }
}

impl<S> Clone for Turns<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Outbox + Unpin> Turns<S> {
    /// Sends what was written in a turn. A failure is told to the writer, which is woken for it.
    #[inline]
    fn end(&self) -> Sent {
        let Some(cork) = self.0.upgrade() else { return Sent::Nothing };
        let cork = &mut *cork.borrow_mut();
        if cork.kept.is_empty() && !cork.behind { Sent::Nothing } else { cork.end_turn() }
    }
}

pin_project! {
    /// A task that may write to a stream, whose turn ends with each of the task's; `note` hears what became of it.
    pub(crate) struct Turning<W, S, N> {
        #[pin]
        task: W,
        turns: Turns<S>,
        note: N,
    }
}

impl<W, S, N: FnMut(Sent)> Turning<W, S, N> {
    pub(crate) fn new(task: W, turns: Turns<S>, note: N) -> Self {
        Self { task, turns, note }
    }

    pub(crate) fn task(self: Pin<&mut Self>) -> Pin<&mut W> {
        self.project().task
    }
}

impl<W: Future, S: Outbox + Unpin, N: FnMut(Sent)> Future for Turning<W, S, N> {
    type Output = W::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        let this = self.project();
        let ended = this.task.poll(cx);
        (this.note)(this.turns.end());
        ended
    }
}

/// What became of what was written in a turn, or left of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There was nothing.
    Nothing,
    /// The peer took all.
    All,
    /// The peer took some.
    Some,
    /// There was something, and the peer took nothing.
    None,
}

impl<S: Outbox + Unpin> Cork<S> {
    fn end_turn(&mut self) -> Sent {
        let (told, writer) = (self.behind, self.writer.clone());
        let sent = self.poll_send(&mut Context::from_waker(&writer));
        let took = std::mem::take(&mut self.took);
        match sent {
            Poll::Ready(Ok(())) => Sent::All,
            Poll::Ready(Err(_)) => {
                if !told {
                    writer.wake();
                }
                Sent::None
            }
            Poll::Pending if took => Sent::Some,
            Poll::Pending => Sent::None,
        }
    }

    /// Sends what was kept, and what the stream took ahead.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.stream.sent();
        let sent = self.poll_send_all(cx);
        self.took |= sent.is_pending() && self.stream.sent() != before;
        sent
    }

    fn poll_send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind = true;
        while let Some(rest) = self.kept.get(self.sent..)
            && !rest.is_empty()
        {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => (self.sent, self.took) = (self.sent + sent, true),
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.behind = false;
        self.take_off();
        Poll::Ready(Ok(()))
    }

    /// All that was kept is sent.
    fn take_off(&mut self) {
        (self.sent, self.took) = (0, false);
        self.kept.clear();
        if self.kept.capacity() > 0 {
            SPARE.set(std::mem::take(&mut self.kept));
        }
    }

    /// Whether so many bytes more may be kept.
    fn has_room(&self, bytes: usize) -> bool {
        self.kept.len() + bytes <= ROOM
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.kept.capacity() == 0 {
            self.kept = SPARE.take();
            self.kept.reserve_exact(ROOM);
        }
        self.kept.extend_from_slice(bytes);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.behind || !self.has_room(bytes) {
            ready!(self.poll_send(cx))?;
        }
        if !self.has_room(bytes) {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        slices.iter().for_each(|slice| self.keep(slice));
        if !self.writer.will_wake(cx.waker()) {
            self.writer = cx.waker().clone();
        }
        Poll::Ready(Ok(bytes))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written in this turn is flushed by its end.
        if self.behind || self.kept.is_empty() { self.poll_send(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: Outbox + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let cork = &mut *self.0.borrow_mut();
        ready!(cork.poll_send(cx))?;
        Pin::new(&mut cork.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    /// A peer that takes so many bytes more or is gone, and what it was sent.
    #[derive(Debug, Default)]
    struct Peer {
        takes: usize,
        is_gone: bool,
        sends: Vec<Vec<u8>>,
        is_shut: bool,
        /// Bytes that the stream took ahead and has not sent, of which it sends so many with each flush, and has sent.
        ahead: u64,
        by_flush: u64,
        sent: u64,
    }

    impl Outbox for Peer {
        fn sent(&self) -> u64 {
            self.sent
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.takes);
            if self.is_gone {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if taken == 0 {
                return Poll::Pending;
            }
            self.takes -= taken;
            self.sends.push(bytes.get(..taken).unwrap().to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let sent = self.ahead.min(self.by_flush);
            self.ahead -= sent;
            self.sent += sent;
            if self.ahead > 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_shut = true;
            Poll::Ready(Ok(()))
        }
    }

    /// How often a task was woken.
    #[derive(Debug, Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A stream, its turns and its writer.
    struct Fixture {
        stream: Corked<Peer>,
        turns: Turns<Peer>,
        woken: Arc<Woken>,
    }

    impl Fixture {
        fn new(takes: usize) -> Self {
            let stream = Corked::new(Peer { takes, ..Peer::default() });
            Self { turns: stream.turns(), stream, woken: Arc::default() }
        }

        fn with<T>(&mut self, poll: impl FnOnce(Pin<&mut Corked<Peer>>, &mut Context<'_>) -> T) -> T {
            let waker = self.woken.clone().into();
            poll(Pin::new(&mut self.stream), &mut Context::from_waker(&waker))
        }

        fn write(&mut self, bytes: &[u8]) -> Poll<usize> {
            self.with(|stream, cx| stream.poll_write(cx, bytes)).map(Result::unwrap)
        }

        fn flush(&mut self) -> Poll<io::Result<()>> {
            self.with(|stream, cx| stream.poll_flush(cx))
        }

        fn peer<T>(&self, with: impl FnOnce(&mut Peer) -> T) -> T {
            with(&mut self.stream.0.borrow_mut().stream)
        }

        fn lengths(&self) -> Vec<usize> {
            self.peer(|peer| peer.sends.iter().map(Vec::len).collect())
        }

        /// Bytes of memory that the stream keeps.
        fn keeps(&self) -> usize {
            self.stream.0.borrow().kept.capacity()
        }
    }

    #[test]
    fn what_is_written_in_a_turn_is_sent_at_its_end_and_together() {
        let mut fixture = Fixture::new(usize::MAX);
        for _response in 0..3 {
            assert_eq!(fixture.write(b"response"), Poll::Ready(8));
            assert!(fixture.flush().is_ready());
        }
        assert!(fixture.lengths().is_empty());
        assert_eq!((fixture.turns.end(), fixture.turns.end()), (Sent::All, Sent::Nothing));
        assert_eq!((fixture.lengths(), fixture.keeps()), (vec![24], 0));
    }

    #[test]
    fn what_does_not_fit_is_sent_at_once_and_in_order() {
        let mut fixture = Fixture::new(usize::MAX);
        assert_eq!(fixture.write(b"head"), Poll::Ready(4));
        assert_eq!(fixture.write(&[0; ROOM + 1]), Poll::Ready(ROOM + 1));
        assert_eq!(fixture.lengths(), [4, ROOM + 1]);
        assert_eq!(fixture.write(&[0; ROOM]), Poll::Ready(ROOM));
        assert_eq!(fixture.write(b"more"), Poll::Ready(4));
        assert_eq!(fixture.lengths(), [4, ROOM + 1, ROOM]);
        assert_eq!(fixture.turns.end(), Sent::All);
        assert_eq!(fixture.lengths(), [4, ROOM + 1, ROOM, 4]);
    }

    #[test]
    fn what_the_peer_leaves_holds_the_writer_up() {
        let mut fixture = Fixture::new(3);
        assert_eq!(fixture.write(b"response"), Poll::Ready(8));
        assert_eq!((fixture.turns.end(), fixture.turns.end()), (Sent::Some, Sent::None));
        assert_eq!(fixture.write(b"next"), Poll::Pending);
        assert!(fixture.flush().is_pending());
        fixture.peer(|peer| peer.takes = 1);
        assert_eq!(fixture.write(b"next"), Poll::Pending);
        assert_eq!(fixture.turns.end(), Sent::Some);
        fixture.peer(|peer| peer.takes = 8);
        assert_eq!(fixture.write(b"next"), Poll::Ready(4));
        assert_eq!(fixture.turns.end(), Sent::All);
        assert_eq!(fixture.peer(|peer| peer.sends.concat()), b"responsenext");
    }

    #[test]
    fn what_is_sent_of_what_the_stream_took_ahead_is_taken() {
        let mut fixture = Fixture::new(usize::MAX);
        fixture.peer(|peer| peer.ahead = 9);
        assert!(fixture.flush().is_pending());
        assert_eq!(fixture.turns.end(), Sent::None);
        fixture.peer(|peer| peer.by_flush = 4);
        assert!(fixture.flush().is_pending());
        assert_eq!([fixture.turns.end(), fixture.turns.end()], [Sent::Some, Sent::All]);
        fixture.peer(|peer| (peer.ahead, peer.by_flush) = (9, 4));
        assert!(fixture.flush().is_pending());
        fixture.peer(|peer| peer.by_flush = 0);
        assert_eq!([fixture.turns.end(), fixture.turns.end()], [Sent::Some, Sent::None]);
    }

    #[test]
    fn the_writer_hears_of_a_failure_once() {
        let mut fixture = Fixture::new(0);
        assert_eq!(fixture.write(b"response"), Poll::Ready(8));
        fixture.peer(|peer| peer.is_gone = true);
        for _turn in 0..2 {
            assert_eq!(fixture.turns.end(), Sent::None);
        }
        assert_eq!(fixture.woken.0.load(Ordering::Relaxed), 1);
        assert!(matches!(fixture.flush(), Poll::Ready(Err(_))));
    }

    #[test]
    fn a_stream_is_shut_behind_what_was_written() {
        let mut fixture = Fixture::new(0);
        assert_eq!(fixture.write(b"goodbye"), Poll::Ready(7));
        assert!(fixture.with(|stream, cx| stream.poll_shutdown(cx)).is_pending());
        assert!(!fixture.peer(|peer| peer.is_shut));
        fixture.peer(|peer| peer.takes = 7);
        assert!(fixture.with(|stream, cx| stream.poll_shutdown(cx)).is_ready());
        assert_eq!((fixture.lengths(), fixture.peer(|peer| peer.is_shut)), (vec![7], true));
    }

    #[test]
    fn every_byte_is_sent_once_and_in_order_however_the_peer_takes_it() {
        for step in [1, 7, 300, 2000, ROOM] {
            let mut fixture = Fixture::new(0);
            let mut written = Vec::new();
            for write in 0..400 {
                let bytes =
                    vec![u8::try_from(write % 251).unwrap(); write * 37 % 1500 + usize::from(write % 50 == 0) * ROOM];
                match fixture.write(&bytes) {
                    Poll::Ready(taken) => written.extend_from_slice(bytes.get(..taken).unwrap()),
                    Poll::Pending => fixture.peer(|peer| peer.takes += step),
                }
                if write % 3 == 0 {
                    fixture.turns.end();
                }
            }
            fixture.peer(|peer| peer.takes = usize::MAX);
            fixture.turns.end();
            assert!(fixture.peer(|peer| peer.sends.concat()) == written, "{step}");
        }
    }

    #[test]
    fn turns_of_a_stream_that_is_gone_are_nothing() {
        let Fixture { stream, turns, .. } = Fixture::new(0);
        drop(stream);
        assert_eq!(turns.end(), Sent::Nothing);
    }
}
