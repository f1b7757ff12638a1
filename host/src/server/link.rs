//! What a connection and its byte stream tell each other: they live in one task, but hyper stands between them.
//!
//! It does not move bytes and decides nothing about a request.
//!
//! **Invariant:** bytes are held back only while the last request that was read asks for an upgrade and has no answer
//! yet.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Waker},
};

use super::{heads::Heads, pace::Pace};
use crate::observe::{self, Refusal};

/// The state that both sides see.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Since when the client has kept the proxy waiting.
    pub pace: Pace,
    /// Exchanges under way.
    pub exchanges: Cell<u32>,
    /// The client has sent whole requests, and nothing since.
    pub between: Cell<bool>,
    /// Something was written since the last flush.
    pub unflushed: Cell<bool>,
    /// The client sent more frames without work than it may.
    pub spent: Cell<bool>,
    /// Streams that the proxy itself refused, and whose refusal was not written yet.
    pub refusing: Cell<usize>,
    /// Of the requests that have no response yet.
    pub heads: Heads,
    hold: Cell<Hold>,
    reader: RefCell<Option<Waker>>,
}

/// What becomes of the bytes behind a request for an upgrade.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// No such request.
    #[default]
    None,
    /// They wait for its answer.
    Waiting,
    /// There was no upgrade: they are HTTP.
    Released,
}

impl Link {
    /// Whether the parser can be done without until the client sends something.
    pub(super) fn may_rest(&self) -> bool {
        self.exchanges.get() == 0 && self.between.get() && !self.unflushed.get() && self.hold.get() == Hold::None
    }

    /// So many refusals of streams were written: those that the proxy did not ask for are the HTTP/2 library's, which
    /// refuses what is beyond `max_streams`. One that it asked for is never written if the client resets that stream first;
    /// then one of the library's is not counted.
    #[inline]
    pub(super) fn refused(&self, streams: usize) {
        if streams > 0 {
            self.count_refused(streams);
        }
    }

    #[cold]
    fn count_refused(&self, streams: usize) {
        let asked_for = streams.min(self.refusing.get());
        self.refusing.set(self.refusing.get() - asked_for);
        for _ in asked_for..streams {
            observe::count_refusal(Refusal::MaxStreams);
            tracing::debug!(reason = Refusal::MaxStreams.as_str(), "stream refused");
        }
    }

    /// A request for an upgrade was read.
    pub(super) fn hold(&self) {
        self.hold.set(Hold::Waiting);
    }

    /// Whether bytes are held back.
    pub(super) fn is_holding(&self) -> bool {
        self.hold.get() == Hold::Waiting
    }

    /// The request for an upgrade was answered without one.
    pub(super) fn release(&self) {
        self.hold.set(Hold::Released);
        self.wake_reader();
    }

    /// Whether the bytes behind the request may go on; says so once.
    pub(super) fn take_released(&self) -> bool {
        let released = self.hold.get() == Hold::Released;
        if released {
            self.hold.set(Hold::None);
        }
        released
    }

    /// The reader waits for something that does not come from the socket.
    pub(super) fn park_reader(&self, cx: &Context<'_>) {
        *self.reader.borrow_mut() = Some(cx.waker().clone());
    }

    /// Has the reader look again.
    pub(super) fn wake_reader(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
