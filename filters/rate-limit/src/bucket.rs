//! A token bucket as one number: the time at which it will be full again (GCRA, "virtual scheduling", ITU-T I.371).
//!
//! A request moves that time by the interval in which one token comes. It is over the limit when the time would then be
//! further ahead than it takes to fill the whole bucket. One number can be changed by one compare-and-swap, and a bucket
//! that is full needs no memory. All times are nanoseconds of one clock.
//!
//! **Invariant:** a number is only ever replaced by one that counts the same requests and one more.

use std::time::Duration;

use meshup_sdk::state::HostError;

/// How often another worker may come first before the request counts as one too many.
const MAX_TRIES: usize = 64;

/// The size of a bucket and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Until the next token.
    interval: u64,
    /// Until an empty bucket is full.
    capacity: u64,
}

/// What came of a request for a token, and how the bucket is afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How long until there is a token; zero for one that was taken.
    pub(crate) wait: Duration,
    /// Tokens that are left.
    pub(crate) left: u64,
    /// Until the bucket is full.
    pub(crate) full_in: Duration,
}

impl Bucket {
    /// A bucket of `burst` tokens into which `limit` come `per` time; `None` for what nanoseconds cannot tell.
    pub(crate) fn new(limit: u64, per: Duration, burst: u64) -> Option<Self> {
        /// Nobody waits for longer, and sums stay far from overflow.
        const MAX_CAPACITY: u64 = 10 * 365 * 86_400 * 1_000_000_000;
        const MIN_INTERVAL: u64 = 1_000;
        let per = u64::try_from(per.as_nanos()).ok()?;
        // Rounded up: rather a little slower than a token too many.
        let interval = per.checked_next_multiple_of(limit)? / limit;
        let capacity = interval.checked_mul(burst)?;
        let measurable = interval >= MIN_INTERVAL && burst > 0 && capacity <= MAX_CAPACITY;
        measurable.then_some(Self { interval, capacity })
    }

    /// Until an empty bucket is full.
    pub(crate) fn capacity(&self) -> Duration {
        Duration::from_nanos(self.capacity)
    }

    /// Takes a token from the bucket that will be full at `full_at`, by default now. Gives that time anew when there was
    /// one.
    fn take(&self, full_at: Option<u64>, now: u64) -> (Taken, Option<u64>) {
        // Further ahead than the capacity is only a number of another configuration, or of a worker whose now is later.
        let full_at = full_at.unwrap_or(now).clamp(now, now.saturating_add(self.capacity));
        let (next, empty) = (full_at.saturating_add(self.interval), now.saturating_add(self.capacity));
        if next > empty {
            let wait = Duration::from_nanos(next - empty);
            return (Taken { wait, left: 0, full_in: Duration::from_nanos(full_at - now) }, None);
        }
        let left = (empty - next) / self.interval;
        (Taken { wait: Duration::ZERO, left, full_in: Duration::from_nanos(next - now) }, Some(next))
    }

    /// Takes a token from the bucket that `load` and `swap` keep: `swap` stores a value, for as long as given, over the
    /// one expected, and says whether it did.
    pub(crate) fn take_shared(
        &self,
        now: Duration,
        mut load: impl FnMut() -> Option<Vec<u8>>,
        mut swap: impl FnMut(Option<&[u8]>, [u8; 8], Duration) -> Result<bool, HostError>,
    ) -> Result<Taken, HostError> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        for _ in 0..MAX_TRIES {
            let stored = load();
            let full_at = stored.as_deref().and_then(|value| value.try_into().ok()).map(u64::from_le_bytes);
            let (taken, next) = self.take(full_at, now);
            let Some(next) = next else { return Ok(taken) };
            if swap(stored.as_deref(), next.to_le_bytes(), taken.full_in)? {
                return Ok(taken);
            }
        }
        let interval = Duration::from_nanos(self.interval);
        Ok(Taken { wait: interval, left: 0, full_in: self.capacity() })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bucket(limit: u64, per: Duration, burst: u64) -> Bucket {
        Bucket::new(limit, per, burst).unwrap()
    }

    /// One key of a shared state. Before a swap `meanwhile` happens, as on another worker.
    #[derive(Default)]
    struct Store(RefCell<Option<Vec<u8>>>);

    impl Store {
        fn take(&self, bucket: &Bucket, now: Duration, meanwhile: impl Fn()) -> Taken {
            let swap = |expected: Option<&[u8]>, value: [u8; 8], _| {
                meanwhile();
                let mut stored = self.0.borrow_mut();
                let swapped = stored.as_deref() == expected;
                if swapped {
                    *stored = Some(value.to_vec());
                }
                Ok(swapped)
            };
            bucket.take_shared(now, || self.0.borrow().clone(), swap).unwrap()
        }
    }

    #[test]
    fn a_burst_passes_and_then_what_is_refilled() {
        let (bucket, store) = (bucket(2, SECOND, 3), Store::default());
        let mut now = 5 * SECOND;
        for left in [2, 1, 0] {
            let taken = store.take(&bucket, now, || {});
            assert_eq!((taken.wait, taken.left), (Duration::ZERO, left));
        }
        let taken = store.take(&bucket, now, || {});
        assert_eq!((taken.wait, taken.left, taken.full_in), (SECOND / 2, 0, 3 * SECOND / 2));
        now += SECOND / 2 - Duration::from_nanos(1);
        assert_eq!(store.take(&bucket, now, || {}).wait, Duration::from_nanos(1));
        now += Duration::from_nanos(1);
        assert_eq!(store.take(&bucket, now, || {}).wait, Duration::ZERO);
        assert_eq!(store.take(&bucket, now, || {}).wait, SECOND / 2);
        now += 1000 * SECOND;
        assert_eq!(store.take(&bucket, now, || {}).left, 2);
    }

    #[test]
    fn no_window_passes_more_than_burst_and_refill() {
        let (bucket, store) = (bucket(7, SECOND, 5), Store::default());
        // Pauses of all lengths, from a simple generator; what passed, and when.
        let (mut now, mut seed, mut passed) = (SECOND, 1_u64, Vec::new());
        for _ in 0..5_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            now += Duration::from_nanos((seed >> 33) % 300_000_000);
            if store.take(&bucket, now, || {}).wait.is_zero() {
                passed.push(now);
            }
        }
        assert!(passed.len() > 3_000);
        for (first, start) in passed.iter().enumerate() {
            for (end, count) in passed[first..].iter().zip(1..=60) {
                let refilled = u64::try_from((*end - *start).as_nanos()).unwrap() / bucket.interval;
                assert!(count <= 5 + refilled, "{count} from {start:?} to {end:?}");
            }
        }
    }

    #[test]
    fn who_comes_second_counts_again() {
        let (bucket, store, raced) = (bucket(1, SECOND, 3), Store::default(), Cell::new(false));
        let other = || {
            if !raced.replace(true) {
                assert_eq!(store.take(&bucket, SECOND, || {}).left, 2);
            }
        };
        assert_eq!(store.take(&bucket, SECOND, other).left, 1);
        // The last token goes to the other one.
        raced.set(false);
        let last = || {
            if !raced.replace(true) {
                assert_eq!(store.take(&bucket, SECOND, || {}).left, 0);
            }
        };
        assert_eq!(store.take(&bucket, SECOND, last).wait, SECOND);
    }

    #[test]
    fn a_race_that_is_never_won_ends() {
        let tries = Cell::new(0);
        let lost = |_: Option<&[u8]>, _, _| {
            tries.set(tries.get() + 1);
            Ok(false)
        };
        let taken = bucket(1, SECOND, 3).take_shared(SECOND, || None, lost).unwrap();
        assert_eq!((taken.wait, taken.left, tries.get()), (SECOND, 0, MAX_TRIES));
    }

    #[test]
    fn a_worker_whose_now_is_a_little_behind_passes_no_more() {
        let (bucket, store) = (bucket(1, SECOND, 2), Store::default());
        assert_eq!(store.take(&bucket, 10 * SECOND, || {}).left, 1);
        assert_eq!(store.take(&bucket, 10 * SECOND - SECOND / 2, || {}).wait, SECOND / 2);
        assert_eq!(store.take(&bucket, 10 * SECOND, || {}).left, 0);
        assert!(!store.take(&bucket, 9 * SECOND, || {}).wait.is_zero());
    }

    #[test]
    fn a_number_of_another_configuration_is_an_empty_bucket_at_worst() {
        let bucket = bucket(10, SECOND, 10);
        let (taken, next) = bucket.take(Some(3_600_000_000_000), 0);
        assert_eq!((taken.wait, next), (SECOND / 10, None));
        assert_eq!(bucket.take(Some(0), 3_600_000_000_000).0.left, 9);
    }

    #[test]
    fn what_is_refused_stores_nothing_and_what_passes_stores_until_full() {
        let bucket = bucket(1, SECOND, 1);
        let kept = Cell::new(None);
        let taken = bucket.take_shared(
            SECOND,
            || None,
            |_, _, ttl| {
                kept.set(Some(ttl));
                Ok(true)
            },
        );
        assert_eq!((taken.unwrap().left, kept.get()), (0, Some(SECOND)));
        let full = (2 * 1_000_000_000_u64).to_le_bytes().to_vec();
        let never = |_: Option<&[u8]>, _, _| panic!("nothing to store");
        assert_eq!(bucket.take_shared(SECOND, || Some(full.clone()), never).unwrap().wait, SECOND);
    }

    #[test]
    fn a_full_state_is_an_error() {
        let full = |_: Option<&[u8]>, _, _| Err(HostError::Quota);
        assert_eq!(bucket(1, SECOND, 1).take_shared(SECOND, || None, full), Err(HostError::Quota));
    }

    #[test]
    fn only_what_can_be_measured_is_a_bucket() {
        for (limit, per, burst, interval) in [
            (1, SECOND, 1, Some(1_000_000_000)),
            (3, SECOND, 1, Some(333_333_334)),
            (1_000_000, SECOND, 1, Some(1_000)),
            (1_000_001, SECOND, 1, Some(1_000)),
            (2_000_000, SECOND, 1, None),
            (1, Duration::ZERO, 1, None),
            (1, SECOND, 0, None),
            (1, SECOND, u64::MAX, None),
            (u64::MAX, SECOND, 1, None),
            (1, 86_400 * SECOND, 3_650, Some(86_400_000_000_000)),
            (1, 86_400 * SECOND, 3_651, None),
            (1, Duration::MAX, 1, None),
        ] {
            assert_eq!(
                Bucket::new(limit, per, burst).map(|bucket| bucket.interval),
                interval,
                "{limit} {per:?} {burst}"
            );
        }
    }
}
