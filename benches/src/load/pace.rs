//! When requests begin.
//!
//! **Invariant:** at a rate, every request that is due in the time is sent, however late.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, task::yield_now};

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
    pub(super) fn new(started: Instant, pace: Pace) -> Self {
        match pace {
            Pace::For(time) => Self::Until(started + time),
            Pace::Count(requests) => Self::Count(Cell::new(requests)),
            Pace::Rate(per_second, time) => Self::Rate(Schedule::new(started, per_second, time)),
        }
    }

    /// Since when the next request is due; `None` once there is none any more.
    pub(super) async fn next(&self) -> Option<Instant> {
        match self {
            Self::Until(end) => Some(Instant::now()).filter(|now| now < end),
            Self::Count(left) => {
                let next = left.get().checked_sub(1);
                left.set(next.unwrap_or_default());
                next.map(|_| Instant::now())
            }
            Self::Rate(schedule) => schedule.next().await,
        }
    }
}

/// Requests at equal intervals. Who waits for the next looks at the clock until it is due, and lets others go on in
/// between: tokio's clock counts milliseconds, and a thread that sleeps is woken late.
#[derive(Debug)]
pub(super) struct Schedule {
    started: Instant,
    interval: Duration,
    total: usize,
    taken: Cell<usize>,
    waiting: Mutex<()>,
}

impl Schedule {
    fn new(started: Instant, per_second: f64, time: Duration) -> Self {
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let total = (time.as_secs_f64() * per_second) as usize;
        Self { started, interval, total, taken: Cell::new(0), waiting: Mutex::default() }
    }

    async fn next(&self) -> Option<Instant> {
        let _first = self.waiting.lock().await;
        let number = self.taken.get();
        if number == self.total {
            return None;
        }
        self.taken.set(number + 1);
        let due = self.started + self.interval.mul_f64(number as f64);
        while Instant::now() < due {
            yield_now().await;
        }
        Some(due)
    }
}
