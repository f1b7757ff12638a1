//! Delays: a fixed length, or one that varies.
//!
//! **Invariant:** a delay takes at least `duration` and at most `duration` and `jitter` together.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;

use crate::share::{Percent, Share};

/// What is delayed, and for how long.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawDelay")]
pub(crate) struct Delay {
    pub(crate) share: Share,
    duration: Duration,
    jitter: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDelay {
    #[serde(with = "duration")]
    duration: Duration,
    #[serde(default, with = "duration")]
    jitter: Duration,
    #[serde(default)]
    percent: Percent,
    #[serde(default)]
    headers: BTreeMap<HeaderName, String>,
}

impl TryFrom<RawDelay> for Delay {
    type Error = &'static str;

    fn try_from(raw: RawDelay) -> Result<Self, Self::Error> {
        let RawDelay { duration, jitter, percent, headers } = raw;
        if duration.is_zero() && jitter.is_zero() {
            return Err("duration: a delay takes some time");
        }
        Ok(Self { share: Share { percent, headers }, duration, jitter })
    }
}

impl Delay {
    /// How long this one takes.
    pub(crate) fn length(&self) -> Duration {
        if self.jitter.is_zero() {
            return self.duration;
        }
        self.duration.saturating_add(self.jitter.mul_f64(random::f64()))
    }
}
