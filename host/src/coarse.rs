//! Timers for deadlines far away, most of which never come: cheap to start and to drop, late by up to a worker's tick.
//!
//! They belong to the current thread, whose worker must call [`wake_due`] about once a second.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use slab::Slab;

/// A deadline at least this far away may come a second late.
pub(crate) const FAR: Duration = Duration::from_secs(30);

thread_local! {
    static WAITING: RefCell<Slab<(Instant, Waker)>> = const { RefCell::new(Slab::new()) };
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
