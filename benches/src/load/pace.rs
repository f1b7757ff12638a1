//! When requests begin.
//!
//! **Invariant:** at a rate, every request that is due in the time is sent, however late.

use std::{
    cell::Cell,
    num::NonZeroU64,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::thread::set_current_timer_slack;
use tokio::sync::Semaphore;

/// When clients send their next requests, and the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As soon as one has an answer, for so long.
    For(Duration),
    /// The same, until there were so many in all.
    Count(usize),
    /// When they are due, so many a second in all, for so long.
    Rate(f64, Duration),
}

/// Hands out the moments at which requests are due.
#[derive(Debug)]
pub(super) enum Slots {
    Until(Instant),
    Count(Cell<usize>),
    Rate(Schedule),
}

impl Slots {
    pub(super) fn new(started: Instant, pace: Pace) -> Result<Self> {
        Ok(match pace {
            Pace::For(time) => Self::Until(started + time),
            Pace::Count(requests) => Self::Count(Cell::new(requests)),
            Pace::Rate(per_second, time) => Self::Rate(Schedule::start(started, per_second, time)?),
        })
    }

    /// Since when the next request is due; `None` once there is none any more.
    pub(super) async fn next(&self) -> Result<Option<Instant>> {
        match self {
            Self::Until(end) => Ok(Some(Instant::now()).filter(|now| now < end)),
            Self::Count(left) => {
                let next = left.get().checked_sub(1);
                left.set(next.unwrap_or_default());
                Ok(next.map(|_| Instant::now()))
            }
            Self::Rate(schedule) => schedule.next().await,
        }
    }
}

/// Requests at equal intervals. A thread sleeps from one to the next: tokio's clock counts milliseconds.
#[derive(Debug)]
pub(super) struct Schedule {
    started: Instant,
    interval: Duration,
    total: usize,
    taken: Cell<usize>,
    due: Arc<Semaphore>,
}

impl Schedule {
    fn start(started: Instant, per_second: f64, time: Duration) -> Result<Self> {
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let total = (time.as_secs_f64() * per_second) as usize;
        let due = Arc::new(Semaphore::new(0));
        let clock = due.clone();
        thread::Builder::new().name("clock".into()).spawn(move || tick(started, interval, total, &clock))?;
        Ok(Self { started, interval, total, taken: Cell::new(0), due })
    }

    async fn next(&self) -> Result<Option<Instant>> {
        let number = self.taken.get();
        if number == self.total {
            return Ok(None);
        }
        self.taken.set(number + 1);
        self.due.acquire().await?.forget();
        Ok(Some(due(self.started, self.interval, number)))
    }
}

fn due(started: Instant, interval: Duration, number: usize) -> Instant {
    started + interval.mul_f64(number as f64)
}

fn tick(started: Instant, interval: Duration, total: usize, clock: &Semaphore) {
    // The kernel wakes sleepers together, up to 50 microseconds late, unless it is asked not to.
    set_current_timer_slack(NonZeroU64::new(1)).ok();
    for number in 0..total {
        thread::sleep(due(started, interval, number).saturating_duration_since(Instant::now()));
        clock.add_permits(1);
    }
}
