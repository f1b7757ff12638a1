//! How long a request body may keep the host waiting.
//!
//! A body that keeps coming costs a look at a cell per part; only one that has to be waited for costs a look at the clock
//! and, the first time, a timer.
//!
//! **Invariant:** time runs only while somebody asked for more and there was nothing, and never once the response began.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use crate::{coarse::MovingDeadline, config::ListenerLimits};

/// One body's.
#[derive(Debug)]
pub(super) struct Wait {
    /// For the next part.
    part: Duration,
    /// For all of it.
    whole: Instant,
    since: Cell<Option<Instant>>,
    deadline: RefCell<MovingDeadline>,
    over: Cell<bool>,
}

impl Wait {
    /// Of a request that came at `started`.
    pub(super) fn new(limits: &ListenerLimits, started: Instant) -> Self {
        Self {
            part: limits.body_timeout,
            whole: started + limits.request_timeout,
            since: Cell::new(None),
            deadline: RefCell::default(),
            over: Cell::new(false),
        }
    }

    /// Something came.
    pub(super) fn arrived(&self) {
        self.since.set(None);
    }

    /// Waits without limit from now on.
    pub(super) fn end(&self) {
        self.over.set(true);
    }

    /// There was nothing; ready when there has been nothing for too long.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.over.get() {
            return Poll::Pending;
        }
        let since = self.since.get().unwrap_or_else(Instant::now);
        self.since.set(Some(since));
        ready!(self.deadline.borrow_mut().poll(self.whole.min(since + self.part), cx));
        Poll::Ready(())
    }
}
