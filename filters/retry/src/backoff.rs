//! How long to wait before a retry: exponential, with full jitter.
//!
//! **Invariant:** a pause is never longer than `max`.

use meshup_sdk::prelude::*;

const BASE: Duration = Duration::from_millis(25);
/// `max` where only `base` is given, as a multiple of it.
const MAX_FACTOR: u32 = 10;
/// A longer pause would outlive every client.
const LONGEST: Duration = Duration::from_secs(60);

/// `{ base = "25ms", max = "250ms" }`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawBackoff")]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackoff {
    #[serde(default = "default_base", with = "duration")]
    base: Duration,
    #[serde(default, with = "duration")]
    max: Option<Duration>,
}

fn default_base() -> Duration {
    BASE
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: BASE, max: BASE * MAX_FACTOR }
    }
}

impl TryFrom<RawBackoff> for Backoff {
    type Error = String;

    fn try_from(raw: RawBackoff) -> Result<Self, String> {
        let max = raw.max.unwrap_or(raw.base.saturating_mul(MAX_FACTOR).min(LONGEST));
        if max < raw.base {
            return Err(format!("max {max:?} is less than base {:?}", raw.base));
        }
        if max > LONGEST {
            return Err(format!("max {max:?} is more than {LONGEST:?}"));
        }
        Ok(Self { base: raw.base, max })
    }
}

impl Backoff {
    /// The pause after try number `attempt`, from 1: evenly distributed from zero up to a bound that doubles.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        self.bound(attempt).mul_f64(random::f64())
    }

    fn bound(&self, attempt: u32) -> Duration {
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.base.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let bounds: Vec<_> = (1..=6).map(|attempt| Backoff::default().bound(attempt).as_millis()).collect();
        assert_eq!(bounds, [25, 50, 100, 200, 250, 250]);
        assert_eq!(Backoff::default().bound(u32::MAX).as_millis(), 250);
    }
}
