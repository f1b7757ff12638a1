//! What filters did: calls, faults and time, for `/filters` and `/metrics`.
//!
//! Calls are counted exactly. Time is measured on one call in 16, because reading the clock twice costs as much as a
//! small call; the histogram `meshup_filter_duration_seconds` holds those samples and its count is not the number of
//! calls. Workers count for themselves and add it up now and then, so that they do not share a cache line per call.
//!
//! **Invariant:** what a worker counted is in the shared numbers after 64 calls, after `flush`, or at its end.

use std::{
    array,
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram, counter, histogram};

use super::fault::FaultCause;

/// One call in so many is timed.
const SAMPLE_INTERVAL: u32 = 16;
/// Calls after which a worker adds up.
const FLUSH_INTERVAL: u32 = 64;

const KINDS: usize = FaultCause::LABELS.len();

/// A filter's numbers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterStatistics {
    /// Guest calls, over all workers.
    pub calls: u64,
    /// Faults by [`FaultCause::label`], those that happened.
    pub faults: Vec<(&'static str, u64)>,
    /// Mean time of a call, over the calls that were timed.
    pub mean_call: Option<Duration>,
}

/// A filter's numbers as the workers add them up.
pub(super) struct Statistics {
    calls: AtomicU64,
    sampled: AtomicU64,
    sampled_nanos: AtomicU64,
    faults: [AtomicU64; KINDS],
    calls_metric: Counter,
    duration_metric: Histogram,
    faults_metric: [Counter; KINDS],
}

impl Statistics {
    pub(super) fn new(filter: &str) -> Self {
        let fault_metric = |kind| counter!("meshup_filter_faults_total", "filter" => filter.to_owned(), "kind" => kind);
        Self {
            calls: AtomicU64::new(0),
            sampled: AtomicU64::new(0),
            sampled_nanos: AtomicU64::new(0),
            faults: array::from_fn(|_| AtomicU64::new(0)),
            calls_metric: counter!("meshup_filter_calls_total", "filter" => filter.to_owned()),
            duration_metric: histogram!("meshup_filter_duration_seconds", "filter" => filter.to_owned()),
            faults_metric: FaultCause::LABELS.map(fault_metric),
        }
    }

    pub(super) fn count_fault(&self, cause: &FaultCause) {
        let (Some(count), Some(metric)) = (self.faults.get(cause.index()), self.faults_metric.get(cause.index()))
        else {
            return;
        };
        count.fetch_add(1, Relaxed);
        metric.increment(1);
    }

    pub(super) fn read(&self) -> FilterStatistics {
        let faults = FaultCause::LABELS.into_iter().zip(&self.faults);
        let mean_nanos = self.sampled_nanos.load(Relaxed).checked_div(self.sampled.load(Relaxed));
        FilterStatistics {
            calls: self.calls.load(Relaxed),
            faults: faults.map(|(kind, n)| (kind, n.load(Relaxed))).filter(|(_, n)| *n > 0).collect(),
            mean_call: mean_nanos.map(Duration::from_nanos),
        }
    }
}

/// What one worker counted since it last added up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    calls: Cell<u32>,
    sampled: Cell<u32>,
    sampled_nanos: Cell<u64>,
    until_sample: Cell<u32>,
}

impl Tally {
    /// A call begins; the time when this one is to be timed.
    #[inline]
    pub(super) fn begin(&self) -> Option<Instant> {
        self.calls.set(self.calls.get() + 1);
        match self.until_sample.get().checked_sub(1) {
            Some(left) => {
                self.until_sample.set(left);
                None
            }
            None => {
                self.until_sample.set(SAMPLE_INTERVAL - 1);
                Some(Instant::now())
            }
        }
    }

    /// The call is over.
    #[inline]
    pub(super) fn end(&self, began: Option<Instant>, statistics: &Statistics) {
        if let Some(began) = began {
            self.sample(began.elapsed(), statistics);
        }
        if self.calls.get() >= FLUSH_INTERVAL {
            self.flush(statistics);
        }
    }

    fn sample(&self, elapsed: Duration, statistics: &Statistics) {
        statistics.duration_metric.record(elapsed.as_secs_f64());
        self.sampled.set(self.sampled.get() + 1);
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.sampled_nanos.set(self.sampled_nanos.get().saturating_add(nanos));
    }

    /// Adds up.
    pub(super) fn flush(&self, statistics: &Statistics) {
        let calls = u64::from(self.calls.take());
        if calls == 0 {
            return;
        }
        statistics.calls.fetch_add(calls, Relaxed);
        statistics.calls_metric.increment(calls);
        statistics.sampled.fetch_add(self.sampled.take().into(), Relaxed);
        statistics.sampled_nanos.fetch_add(self.sampled_nanos.take(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_exact_and_one_in_sixteen_is_timed() {
        let (statistics, tally) = (Statistics::new("auth"), Tally::default());
        assert_eq!(statistics.read(), FilterStatistics { calls: 0, faults: vec![], mean_call: None });
        let timed = (0..100).filter(|_| {
            let began = tally.begin();
            tally.end(began, &statistics);
            began.is_some()
        });
        assert_eq!(timed.count(), 7);
        assert_eq!(statistics.read().calls, 64);
        tally.flush(&statistics);
        assert_eq!(statistics.read().calls, 100);
        assert!(statistics.read().mean_call.is_some());
        statistics.count_fault(&FaultCause::StackOverflow);
        assert_eq!(statistics.read().faults, [("stack-overflow", 1)]);
    }
}
