//! How long an exchange may wait: its own time-out, the deadlines of the Runs that it is inside of, and the upstream's.
//!
//! **Invariant:** what comes first is what is told.

use std::{
    pin::{Pin, pin},
    task::Poll,
    time::Instant,
};

use meshup_abi::ErrorKind;

use super::{Completion, Exchange, Reply};
use crate::coarse::{CoarseSleep, FAR};

/// A time limit that came while something was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// The whole exchange's.
    Exchange,
    /// The deadline of a filter's Run.
    Run(usize),
    /// The upstream's response time-out.
    Upstream,
}

impl Exchange {
    /// A time limit came at filter `at` (or at the upstream): the response says so, and goes on from the returned place.
    pub(super) fn expire(&mut self, expired: Expired, at: usize) -> usize {
        let (kind, from) = match expired {
            Expired::Run(filter) => (ErrorKind::PerTryTimeout, filter + 1),
            Expired::Upstream => (ErrorKind::Timeout, at),
            Expired::Exchange => {
                self.expired = true;
                (ErrorKind::Timeout, at)
            }
        };
        let Completion { slots, info, .. } = &mut *self.end;
        for slot in slots.0.iter_mut().skip(from) {
            slot.cancel(info);
        }
        self.reply = Reply::error(kind);
        from
    }

    /// Waits for `work`, but no longer than the exchange and the Runs around filter `at` may take.
    pub(super) async fn within<T>(&self, at: usize, work: Pin<&mut impl Future<Output = T>>) -> Result<T, Expired> {
        if self.expired {
            return Err(Expired::Exchange);
        }
        until(self.limit(at), Instant::now(), work).await
    }

    /// The earliest deadline around filter `at`.
    pub(super) fn limit(&self, at: usize) -> Option<(Instant, Expired)> {
        let runs = self.end.slots.0.iter().take(at).enumerate();
        let runs = runs.filter_map(|(filter, slot)| slot.deadline.map(|deadline| (deadline, Expired::Run(filter))));
        let exchange = self.deadline.map(|deadline| (deadline, Expired::Exchange));
        runs.chain(exchange).min_by_key(|(deadline, _)| *deadline)
    }
}

/// Waits for `work` until the limit comes; `now` may be a moment ago.
pub(super) async fn until<T>(
    limit: Option<(Instant, Expired)>,
    now: Instant,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Expired> {
    let Some((deadline, expired)) = limit else { return Ok(work.await) };
    if deadline.saturating_duration_since(now) < FAR {
        return tokio::time::timeout_at(deadline.into(), work).await.map_err(|_elapsed| expired);
    }
    let mut timer = pin!(CoarseSleep::until(deadline));
    std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| Err(expired)),
    })
    .await
}
