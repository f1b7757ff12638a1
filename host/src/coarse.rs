//! Time where a little less exactness does: a clock that is read for each exchange, and timers for deadlines far away, most
//! of which never come: cheap to start and to drop, late by up to a worker's tick.
//!
//! The timers belong to the current thread, whose worker must call [`wake_due`] about once a second.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use slab::Slab;

/// A deadline at least this far away may come a second late.
pub(crate) const FAR: Duration = Duration::from_secs(30);

thread_local! {
    static WAITING: RefCell<Slab<(Instant, Waker)>> = const { RefCell::new(Slab::new()) };
}

/// A moment, up to a tick of the system's late (4 ms or less, as kernels are built). To take it costs a quarter of what an
/// [`Instant`] costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        // The monotonic clock begins at 0 and counts up.
        Self(Duration::try_from(clock_gettime(ClockId::MonotonicCoarse)).unwrap_or_default())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    pub(crate) fn instant(self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.elapsed()).unwrap_or(now)
    }
}

/// Wakes whoever's deadline has come.
pub(crate) fn wake_due() {
    let now = Instant::now();
    WAITING.with_borrow(|waiting| {
        for (_, (deadline, waker)) in waiting {
            if *deadline <= now {
                waker.wake_by_ref();
            }
        }
    });
}

/// Waits for a deadline, by the tick.
#[derive(Debug)]
pub(crate) struct CoarseSleep {
    deadline: Instant,
    key: Option<usize>,
}

impl CoarseSleep {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self { deadline, key: None }
    }
}

impl Future for CoarseSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else {
            let entry = (self.deadline, cx.waker().clone());
            self.key = Some(WAITING.with_borrow_mut(|waiting| waiting.insert(entry)));
            return Poll::Pending;
        };
        if self.deadline <= Instant::now() {
            return Poll::Ready(());
        }
        WAITING.with_borrow_mut(|waiting| {
            if let Some((_, waker)) = waiting.get_mut(key) {
                waker.clone_from(cx.waker());
            }
        });
        Poll::Pending
    }
}

impl Drop for CoarseSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            WAITING.with_borrow_mut(|waiting| waiting.try_remove(key));
        }
    }
}

/// A timer for a deadline that moves on time and again. Setting it anew each time would cost more than waking up once too
/// early: it stays as it is until it goes off.
#[derive(Debug, Default)]
pub(crate) struct MovingDeadline(Option<Timer>);

#[derive(Debug)]
enum Timer {
    Coarse(CoarseSleep),
    Exact(Pin<Box<tokio::time::Sleep>>),
}

impl Timer {
    fn until(deadline: Instant, now: Instant) -> Self {
        if deadline.saturating_duration_since(now) < FAR {
            return Self::Exact(Box::pin(tokio::time::sleep_until(deadline.into())));
        }
        Self::Coarse(CoarseSleep::until(deadline))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Coarse(sleep) => Pin::new(sleep).poll(cx),
            Self::Exact(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

impl MovingDeadline {
    /// Ready when `deadline`, which is never earlier than the one before, has passed.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            if deadline <= now {
                return Poll::Ready(());
            }
            let timer = self.0.get_or_insert_with(|| Timer::until(deadline, now));
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_those_whose_deadline_came_are_woken() {
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut due = pin!(CoarseSleep::until(Instant::now()));
        let mut far = pin!(CoarseSleep::until(Instant::now() + FAR));
        assert!(due.as_mut().poll(&mut cx).is_pending() && far.as_mut().poll(&mut cx).is_pending());
        wake_due();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(due.as_mut().poll(&mut cx).is_ready());
        assert!(far.as_mut().poll(&mut cx).is_pending());
    }

    #[test]
    fn nothing_is_left_of_a_dropped_sleep() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sleep = Box::pin(CoarseSleep::until(Instant::now()));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        drop(sleep);
        assert!(WAITING.with_borrow(Slab::is_empty));
    }
}
