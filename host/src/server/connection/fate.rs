//! When a connection ends that would go on: its clock, and the drain.
//!
//! Who keeps the proxy waiting was noted by the byte stream (`pace.rs`); this looks at it now and then. It reads and
//! writes nothing.
//!
//! **Invariant:** a connection with an exchange under way ends only for what its client does not do.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::Sleep};

use super::{Connection, IDLE_GRACE};
use crate::{cause, config, observe::Refusal, server::aside::Aside};

/// For how long a connection has no request before it rests: shorter pauses are not worth another parser.
const REST_AFTER: Duration = Duration::from_secs(2);
/// How often the clock looks at a connection that is to end and has a request.
const LOOK: Duration = Duration::from_secs(1);

/// What is to become of a connection, seen from beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It needs no parser until its client sends something.
    Rest,
    /// The next response announces the end; a second time, its grace is over.
    Close,
    /// It ends now.
    End,
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// What was to be said was said, or the peer is gone.
    ByItself,
    /// In the middle, by its clock: nothing more may be said on it.
    Cut,
    /// Not at all: it rests.
    Rests,
}

/// Serves until the connection ends or rests, its time is up, or the drain ends it. `close` is called when the drain
/// begins and when the grace is over.
pub(super) async fn drive<C>(
    fates: &mut Fates<'_>,
    mut served: Pin<&mut C>,
    close: impl Fn(&Connection, Pin<&mut C>),
) -> Ended
where
    C: Future<Output = hyper::Result<()>>,
{
    let connection = fates.connection;
    let aside = poll_fn(|cx| Poll::Ready(Aside::new(cx.waker()))).await;
    loop {
        let mut fate = pin!(fates.next());
        let fate = poll_fn(|cx| match served.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Err(result)),
            Poll::Pending => aside.poll(fate.as_mut()).map(Ok),
        });
        match fate.await {
            Err(result) => {
                if let Err(error) = result {
                    if let Some(refusal) = connection.refusal(&error) {
                        connection.refuse(refusal);
                    }
                    tracing::debug!(client = %connection.client, %error, "connection ended");
                }
                return Ended::ByItself;
            }
            Ok(Fate::End) => return Ended::Cut,
            Ok(Fate::Rest) => return Ended::Rests,
            Ok(Fate::Close) => close(connection, served.as_mut()),
        }
        aside.ring();
    }
}

/// A connection is to end.
#[derive(Debug, Clone, Copy)]
struct Ending {
    since: Instant,
    /// For how long it may still be without a request.
    grace: Duration,
}

/// The fates of one connection: its timer, and the drain.
pub(super) struct Fates<'a> {
    connection: &'a Connection,
    closing: watch::Receiver<bool>,
    timer: Pin<&'a mut Sleep>,
    ending: Option<Ending>,
    rests: bool,
}

impl<'a> Fates<'a> {
    /// The timer of a connection that begins.
    pub(super) fn timer(connection: &Connection) -> Sleep {
        tokio::time::sleep(first_look(connection))
    }

    pub(super) fn new(connection: &'a Connection, closing: watch::Receiver<bool>, timer: Pin<&'a mut Sleep>) -> Self {
        Self { connection, closing, timer, ending: None, rests: false }
    }

    pub(super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// It rests no more.
    pub(super) fn wake(&mut self) {
        self.rests = false;
        if self.ending.is_none() {
            self.timer.as_mut().reset((Instant::now() + first_look(self.connection)).into());
        }
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Fate {
        loop {
            let announced = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing), if self.ending.is_none() => true,
                () = self.timer.as_mut() => false,
            };
            if announced {
                return self.begin_end(self.connection.drain_idle_grace());
            }
            if let Some(fate) = self.look() {
                return fate;
            }
        }
    }

    /// What the clock says; `None` when it is to be looked at again.
    fn look(&mut self) -> Option<Fate> {
        let now = Instant::now();
        match (self.connection.due(now, self.rests), self.ending) {
            (Due::Head, _) => return Some(self.connection.end(Refusal::HeaderTimeout)),
            (Due::Write, _) => return Some(self.connection.end(Refusal::WriteTimeout)),
            (_, Some(ending)) => return self.look_at_end(ending, now),
            (Due::Idle, None) => {
                self.connection.refuse(Refusal::IdleTimeout);
                self.connection.closing.set(true);
                return Some(self.begin_end(IDLE_GRACE));
            }
            (Due::Rest, None) => {
                self.rests = true;
                self.timer.as_mut().reset(now.into());
                return Some(Fate::Rest);
            }
            (Due::At(next), None) => self.timer.as_mut().reset(next.into()),
        }
        None
    }

    fn begin_end(&mut self, grace: Duration) -> Fate {
        let since = Instant::now();
        self.ending = Some(Ending { since, grace });
        self.timer.as_mut().reset((since + grace.min(LOOK)).into());
        Fate::Close
    }

    /// A connection that is to end is closed once it was without a request for its grace.
    fn look_at_end(&mut self, ending: Ending, now: Instant) -> Option<Fate> {
        let over = self.connection.grace_over(ending);
        let long_ago = |moment| moment + self.connection.listener.limits.write_timeout + LOOK <= now;
        // What was said last is still not taken; a client that takes some now and then has its time.
        if over.is_some_and(long_ago) && self.connection.link.pace.write_waited().is_none_or(long_ago) {
            return Some(self.connection.end(Refusal::WriteTimeout));
        }
        let next = over.filter(|over| *over > now).unwrap_or(now + LOOK);
        self.timer.as_mut().reset(next.into());
        over.filter(|over| *over <= now).map(|_| Fate::Close)
    }
}

/// What the connection's clock says.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Nothing yet; look again then.
    At(Instant),
    /// Idle for long enough to rest.
    Rest,
    /// Idle for too long.
    Idle,
    /// A head is too long under way.
    Head,
    /// The client takes nothing of what is written.
    Write,
}

impl Connection {
    fn due(&self, now: Instant, rests: bool) -> Due {
        let limits = &self.listener.limits;
        if let Some(since) = self.link.pace.write_since() {
            let deadline = since + limits.write_timeout;
            return if deadline <= now { Due::Write } else { Due::At(deadline) };
        }
        if let Some(since) = self.link.pace.head_since() {
            let deadline = since + limits.header_timeout;
            return if deadline <= now { Due::Head } else { Due::At(deadline) };
        }
        if self.link.exchanges.get() > 0 {
            return Due::At(now + shortest_timeout(limits));
        }
        let since = self.idle_since.get().instant();
        let (deadline, rest) = (since + limits.idle_timeout, since + REST_AFTER);
        match (self.link.may_rest(), rests) {
            _ if deadline <= now => Due::Idle,
            (true, false) if rest <= now => Due::Rest,
            (true, false) => Due::At(deadline.min(rest).min(now + shortest_timeout(limits))),
            (false, _) => Due::At(deadline.min(now + shortest_timeout(limits))),
            (true, true) => Due::At(deadline),
        }
    }

    /// For how long it may be without a request once it is to end.
    fn drain_idle_grace(&self) -> Duration {
        self.worker.drain_idle_grace().min(self.listener.limits.idle_timeout)
    }

    /// When it was without a request for its grace; `None` while one is under way.
    fn grace_over(&self, ending: Ending) -> Option<Instant> {
        let busy = self.link.exchanges.get() > 0 || self.link.pace.head_since().is_some();
        (!busy).then(|| self.idle_since.get().instant().max(ending.since) + ending.grace)
    }

    /// Whether the HTTP/2 library ended it: because there was too much of something, or for a fault.
    fn refusal(&self, error: &hyper::Error) -> Option<Refusal> {
        let error = cause::of::<h2::Error>(error)?;
        match error.reason().filter(|_| error.is_library())? {
            h2::Reason::NO_ERROR => None,
            h2::Reason::ENHANCE_YOUR_CALM if self.link.spent.get() => Some(Refusal::Http2ControlFrames),
            h2::Reason::ENHANCE_YOUR_CALM => Some(Refusal::Http2Flood),
            _ => Some(Refusal::Http2Error),
        }
    }

    #[cold]
    fn end(&self, refusal: Refusal) -> Fate {
        self.refuse(refusal);
        Fate::End
    }
}

/// When the clock looks at a connection that begins, or wakes.
fn first_look(connection: &Connection) -> Duration {
    shortest_timeout(&connection.listener.limits).min(REST_AFTER)
}

/// How often the clock looks for what may have begun meanwhile.
fn shortest_timeout(limits: &config::ListenerLimits) -> Duration {
    limits.idle_timeout.min(limits.header_timeout).min(limits.write_timeout)
}
