//! Since when a client has kept its connection waiting.
//!
//! The byte stream notes it, the connection's clock reads it; neither needs a timer of its own.

use std::{cell::Cell, task::Poll, time::Instant};

use crate::cork::Sent;

/// One connection's.
#[derive(Debug, Default)]
pub(super) struct Pace {
    head_since: Cell<Option<Instant>>,
    write_since: Cell<Option<Instant>>,
    /// When the latest wait of a write was over.
    write_waited: Cell<Option<Instant>>,
}

impl Pace {
    /// Since when a request head has been under way.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head_since.get()
    }

    /// Since when the client has taken nothing of what is to be written.
    pub(super) fn write_since(&self) -> Option<Instant> {
        self.write_since.get()
    }

    /// Until when the client last left something that was to be written; now, if it does.
    pub(super) fn write_waited(&self) -> Option<Instant> {
        if self.write_since.get().is_some() { Some(Instant::now()) } else { self.write_waited.get() }
    }

    /// Notes after a read whether the stream stands within a head.
    pub(super) fn head(&self, under_way: bool) {
        note(&self.head_since, under_way);
    }

    /// Notes whether a write has to wait.
    #[inline]
    pub(super) fn wrote<T>(&self, outcome: Poll<T>) -> Poll<T> {
        self.write(outcome.is_pending());
        outcome
    }

    /// Notes what became of what was written in a turn.
    #[inline]
    pub(super) fn turned(&self, sent: Sent) {
        match sent {
            Sent::Nothing => {}
            Sent::All => self.write(false),
            Sent::None => self.write(true),
            Sent::Some => self.write_since.set(Some(Instant::now())),
        }
    }

    #[inline]
    fn write(&self, waiting: bool) {
        if self.write_since.get().is_some() && !waiting {
            self.write_waited.set(Some(Instant::now()));
        }
        note(&self.write_since, waiting);
    }
}

#[inline]
fn note(since: &Cell<Option<Instant>>, waiting: bool) {
    if waiting != since.get().is_some() {
        since.set(waiting.then(Instant::now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_ends_a_wait() {
        let pace = Pace::default();
        assert!(pace.wrote(Poll::<()>::Pending).is_pending());
        let since = pace.write_since();
        assert!(since.is_some() && pace.wrote(Poll::<()>::Pending).is_pending());
        assert_eq!(pace.write_since(), since);
        assert!(pace.wrote(Poll::Ready(())).is_ready());
        assert_eq!((pace.write_since(), pace.head_since()), (None, None));
    }

    #[test]
    fn a_peer_that_takes_some_is_waited_for_anew() {
        let pace = Pace::default();
        pace.turned(Sent::None);
        let since = pace.write_since();
        pace.turned(Sent::None);
        pace.turned(Sent::Nothing);
        assert_eq!(pace.write_since(), since);
        std::thread::sleep(std::time::Duration::from_millis(2));
        pace.turned(Sent::Some);
        assert!(pace.write_since() > since);
        assert!(pace.write_waited() > pace.write_since());
        pace.turned(Sent::All);
        assert!(pace.write_since().is_none() && pace.write_waited().is_some());
    }
}
