//! Streams of an HTTP/2 connection whose client takes nothing more: reset after a while.
//!
//! The HTTP/2 library polls a response body only when the client left room for it, so the body cannot have a timer for
//! that. The task that sends it can: it sees whether the body's latest act was to hand something over.
//!
//! **Invariant:** only a stream whose body handed something over that is still not taken, while the connection could send,
//! can time out here; one that waits for the upstream cannot. A connection that cannot send is its clock's.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

use super::{link::Link, pace::Pace};
use crate::{
    coarse::MovingDeadline,
    observe::{self, Refusal},
};

/// What a response body did last while its stream was polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It was not asked.
    Nothing,
    /// It had nothing to give yet.
    Waited,
    /// It gave a part, or its end.
    Gave,
}

thread_local! {
    static LATEST: Cell<Act> = const { Cell::new(Act::Nothing) };
}

/// Notes what the body of the stream that is being polled did.
#[inline]
pub(crate) fn note(act: Act) {
    LATEST.set(act);
}

/// Runs the streams of one connection.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// How long a client may leave what it was given.
    pub(super) write_timeout: Duration,
    pub(super) link: Rc<Link>,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let watch = Watch { write_timeout: self.write_timeout, since: None, deadline: MovingDeadline::default() };
        tokio::task::spawn_local(Watched { stream, watch, link: self.link.clone() });
    }
}

pin_project! {
    /// Polls a stream to its end, or is ready before, and then is dropped, which resets it. Not an async function: it would
    /// have room for the stream twice.
    struct Watched<F> {
        #[pin]
        stream: F,
        watch: Watch,
        link: Rc<Link>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.watch.poll(this.stream, &this.link.pace, cx).map(|end| {
            if end == End::Stalled {
                observe::count_refusal(Refusal::WriteTimeout);
                tracing::debug!(reason = Refusal::WriteTimeout.as_str(), "stream reset");
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Stalled,
}

#[derive(Debug)]
struct Watch {
    write_timeout: Duration,
    /// Since when the client has left what it was given.
    since: Option<Instant>,
    deadline: MovingDeadline,
}

impl Watch {
    fn poll(&mut self, stream: Pin<&mut impl Future<Output = ()>>, pace: &Pace, cx: &mut Context<'_>) -> Poll<End> {
        note(Act::Nothing);
        if stream.poll(cx).is_ready() {
            return Poll::Ready(End::Done);
        }
        match LATEST.get() {
            Act::Nothing => {}
            Act::Waited => self.since = None,
            Act::Gave => self.since = Some(Instant::now()),
        }
        let Some(since) = self.since else { return Poll::Pending };
        ready!(self.deadline.poll(since + self.write_timeout, cx));
        let since = pace.write_waited().map_or(since, |waited| waited.max(since));
        self.since = Some(since);
        self.deadline.poll(since + self.write_timeout, cx).map(|()| End::Stalled)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use super::*;

    /// What a stream that does `acts`, one per poll, comes to when its client never takes anything.
    fn end_of(acts: &[Act]) -> Poll<End> {
        let mut watch = Watch { write_timeout: Duration::ZERO, since: None, deadline: MovingDeadline::default() };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut end = Poll::Pending;
        for act in acts {
            let mut stream = pin!(poll_fn(|_| {
                note(*act);
                Poll::<()>::Pending
            }));
            end = watch.poll(stream.as_mut(), &Pace::default(), &mut cx);
        }
        end
    }

    #[test]
    fn while_the_connection_cannot_send_no_stream_stalls() {
        let write_timeout = Duration::from_secs(60);
        let long_ago = Instant::now().checked_sub(2 * write_timeout);
        let poll = |pace: &Pace| {
            let mut watch = Watch { write_timeout, since: long_ago, deadline: MovingDeadline::default() };
            let mut cx = Context::from_waker(std::task::Waker::noop());
            watch.poll(pin!(std::future::pending()), pace, &mut cx)
        };
        let pace = Pace::default();
        assert_eq!(poll(&pace), Poll::Ready(End::Stalled));
        assert!(pace.wrote(Poll::<()>::Pending).is_pending());
        assert_eq!(poll(&pace), Poll::Pending);
        assert!(pace.wrote(Poll::Ready(())).is_ready());
        assert_eq!(poll(&pace), Poll::Pending);
    }

    #[test]
    fn only_what_was_given_and_not_taken_is_a_stall() {
        assert_eq!(end_of(&[Act::Nothing, Act::Waited]), Poll::Pending);
        assert_eq!(end_of(&[Act::Gave]), Poll::Ready(End::Stalled));
        assert_eq!(end_of(&[Act::Gave, Act::Nothing]), Poll::Ready(End::Stalled));
        assert_eq!(end_of(&[Act::Gave, Act::Waited, Act::Nothing]), Poll::Pending);
    }
}
