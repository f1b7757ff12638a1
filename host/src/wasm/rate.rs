//! How often something may be logged.
//!
//! **Invariant:** what was held back is counted and told with the next line that is let through.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);

/// Lets through so many lines in any one second, for all workers together.
#[derive(Debug)]
pub(super) struct LineLimit {
    per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    admitted: u32,
    suppressed: u64,
}

impl LineLimit {
    /// `u32::MAX` means no limit.
    pub(super) fn per_second(per_second: u32) -> Self {
        Self { per_second, window: Mutex::default() }
    }

    /// Whether a line may be logged now, and then how many were held back since the last one.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        if self.per_second == u32::MAX {
            return Some(0);
        }
        self.window.lock().unwrap_or_else(PoisonError::into_inner).admit(self.per_second, now)
    }
}

impl Window {
    fn admit(&mut self, per_second: u32, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= SECOND) {
            (self.began, self.admitted) = (Some(now), 0);
        }
        if self.admitted >= per_second {
            self.suppressed += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_back_and_tells() {
        let (limit, now) = (LineLimit::per_second(2), Instant::now());
        assert_eq!(
            [limit.admit(now), limit.admit(now), limit.admit(now), limit.admit(now)],
            [Some(0), Some(0), None, None]
        );
        assert_eq!(limit.admit(now + SECOND), Some(2));
        assert_eq!(limit.admit(now + SECOND), Some(0));
        let unlimited = LineLimit::per_second(u32::MAX);
        assert!((0..1000).all(|_| unlimited.admit(now) == Some(0)));
    }
}
