//! When a faulting filter gets its next instance.
//!
//! The first fault costs nothing: a fresh instance is made at once. Instances that fault before they carried a single
//! exchange to its end double the delay, from 1 ms to 10 s. One that did some good halves it, so a filter that fails
//! every third request goes on serving the other two; one that did much good, or a time without faults, resets it.
//!
//! An instance whose setup took long is not replaced for as long again, so that a filter's setup never takes more than
//! half of a worker's time.
//!
//! **Invariant:** pure: time comes in as an argument.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10);

/// Exchanges completed after which an instance counts as healthy.
const HEALTHY: u32 = 100;

/// The least time without a fault after which past faults are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(1);

/// CPU time of a setup that costs the worker's other exchanges little.
const CHEAP_SETUP: Duration = Duration::from_millis(20);

/// The back-off state of one filter on one worker.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    streak: u32,
    delay: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// How long no instance is made yet; none when one may be made now.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|remaining| !remaining.is_zero())
    }

    /// An instance whose setup took `setup` faulted after it carried `completed` exchanges to their end.
    pub(super) fn faulted(&mut self, now: Instant, completed: u32, setup: Duration) {
        if completed >= HEALTHY || self.is_forgotten(now) {
            self.streak = 0;
        } else if completed > 0 {
            self.streak = self.streak.saturating_sub(1);
        }
        let pause = if setup > CHEAP_SETUP { setup } else { Duration::ZERO };
        self.delay = delay(self.streak).max(pause);
        self.until = Some(now + self.delay);
        self.streak += u32::from(completed == 0 || completed >= HEALTHY);
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now.saturating_duration_since(until) >= FORGOTTEN.max(self.delay))
    }
}

fn delay(streak: u32) -> Duration {
    match streak.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST.saturating_mul(1 << doublings.min(20)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_faults(completed: &[u32]) -> Duration {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        for &completed in completed {
            now += backoff.remaining(now).unwrap_or_default();
            backoff.faulted(now, completed, Duration::ZERO);
        }
        backoff.remaining(now).unwrap_or_default()
    }

    #[test]
    fn a_costly_setup_is_not_had_again_at_once() {
        let setup = Duration::from_millis(300);
        for (completed, setup, expected) in [(0, setup, setup), (100, setup, setup), (0, CHEAP_SETUP, Duration::ZERO)] {
            let (mut backoff, now) = (Backoff::default(), Instant::now());
            backoff.faulted(now, completed, setup);
            assert_eq!(backoff.remaining(now).unwrap_or_default(), expected);
        }
    }

    #[test]
    fn doubles_up_to_ten_seconds() {
        let delays: Vec<_> = (1..=20).map(|faults| after_faults(&vec![0; faults]).as_millis()).collect();
        assert_eq!(delays[..6], [0, 1, 2, 4, 8, 16]);
        assert_eq!(delays[14..], [8192, 10_000, 10_000, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn some_good_keeps_the_filter_in_service() {
        assert_eq!(after_faults(&[2; 50]), Duration::ZERO);
        assert_eq!(after_faults(&[0, 0, 0, 0, 2]).as_millis(), 4);
    }

    #[test]
    fn much_good_or_a_quiet_time_resets() {
        assert_eq!(after_faults(&[0, 0, 0, 0, 100]), Duration::ZERO);
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        (0..8).for_each(|_| backoff.faulted(now, 0, Duration::ZERO));
        assert!(backoff.remaining(now).is_some());
        let later = now + Duration::from_secs(3);
        backoff.faulted(later, 0, Duration::ZERO);
        assert_eq!(backoff.remaining(later), None);
    }
}
