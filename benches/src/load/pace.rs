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

/// When a client sends its next request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As soon as it has an answer.
    Full,
    /// When it is due, so many a second in all.
    Rate(f64),
}

/// Hands out the moments at which requests are due.
#[derive(Debug)]
pub(super) enum Slots {
    Full { end: Instant },
    Rate(Schedule),
}

impl Slots {
    pub(super) fn new(started: Instant, pace: Pace, time: Duration) -> Result<Self> {
        Ok(match pace {
            Pace::Full => Self::Full { end: started + time },
            Pace::Rate(per_second) => Self::Rate(Schedule::start(started, per_second, time)?),
        })
    }

    /// Since when the next request is due; `None` once the time is up.
    pub(super) async fn next(&self) -> Result<Option<Instant>> {
        match self {
            Self::Full { end } => Ok(Some(Instant::now()).filter(|now| now < end)),
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
