//! A future beside the main one of a task, polled only when it has something to say.
//!
//! A connection's task wakes several times per request. Its timer and the news of a drain need a look once in a minute;
//! looking at them each time costs more than the rest of the loop.
//!
//! **Invariant:** a wake-up of the future is never lost: it wakes the task, and the next poll passes it on.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Whether the future beside wants to be polled.
pub(super) struct Aside {
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Aside {
    /// For a future of the task that `task` wakes, which stays the same for its whole life.
    pub(super) fn new(task: &Waker) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: task.clone() });
        Self { waker: bell.clone().into(), bell }
    }

    /// The next poll is passed on: the future is another one.
    pub(super) fn ring(&self) {
        self.bell.rung.store(true, Ordering::Release);
    }

    /// Polls `future` if it was woken, or never polled.
    #[inline]
    pub(super) fn poll<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        if !self.bell.rung.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.bell.rung.swap(false, Ordering::AcqRel);
        future.poll(&mut Context::from_waker(&self.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::atomic::AtomicU32};

    use super::*;

    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_is_polled_when_it_was_woken_and_its_task_hears_of_it() {
        let woken = Arc::new(Count(AtomicU32::new(0)));
        let aside = Aside::new(&woken.clone().into());
        let (mut polls, mut waker) = (0, None);
        let mut future = pin!(std::future::poll_fn(|cx| {
            polls += 1;
            waker = Some(cx.waker().clone());
            if polls == 2 { Poll::Ready(polls) } else { Poll::Pending }
        }));
        assert!(aside.poll(future.as_mut()).is_pending());
        assert!(aside.poll(future.as_mut()).is_pending());
        aside.waker.wake_by_ref();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(aside.poll(future.as_mut()), Poll::Ready(2));
        assert!(waker.is_some());
    }
}
