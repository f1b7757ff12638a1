//! The state that the instances of a filter share across workers: keys and values with an expiry.
//!
//! A namespace belongs to a filter's name and lives as long as a filter of that name does, so it survives reloads. The
//! locks here are taken only when a filter asks, and only for one map operation.
//!
//! **Invariant:** a namespace never holds more than [`MAX_KEYS`] keys and [`MAX_BYTES`] bytes of keys and values.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Keys of one filter.
const MAX_KEYS: i64 = 65_536;
/// Bytes of keys and values of one filter.
const MAX_BYTES: i64 = 16 << 20;
const SHARDS: usize = 16;
/// A shard is first swept of expired entries at this length, and then whenever it has doubled.
const FIRST_SWEEP: usize = 64;
/// When the quota is used up all is swept, but not more often than this.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The namespaces in use.
#[derive(Debug, Default)]
pub(super) struct SharedState {
    namespaces: Mutex<HashMap<Arc<str>, Weak<Namespace>>>,
}

impl SharedState {
    /// The namespace of the filter of that name.
    pub(super) fn of(&self, filter: &Arc<str>) -> Arc<Namespace> {
        let mut namespaces = lock(&self.namespaces);
        if let Some(namespace) = namespaces.get(filter).and_then(Weak::upgrade) {
            return namespace;
        }
        namespaces.retain(|_, namespace| namespace.strong_count() > 0);
        let namespace = Arc::new(Namespace::default());
        namespaces.insert(Arc::clone(filter), Arc::downgrade(&namespace));
        namespace
    }
}

/// The quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotaExceeded;

/// What a value was expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected<'a> {
    Absent,
    Value(&'a [u8]),
}

/// Why a number could not be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddError {
    /// The value is not 8 bytes.
    NotANumber,
    Quota,
}

/// The state of one filter.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    keys: AtomicI64,
    bytes: AtomicI64,
    swept: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<Box<[u8]>, Entry>,
    next_sweep: usize,
}

#[derive(Debug)]
struct Entry {
    value: Arc<[u8]>,
    expires: Option<Instant>,
}

impl Entry {
    fn new(value: &[u8], ttl: Option<Duration>, now: Instant) -> Self {
        Self { value: value.into(), expires: ttl.and_then(|ttl| now.checked_add(ttl)) }
    }

    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// What entries take of the quota.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    keys: i64,
    bytes: i64,
}

impl Cost {
    fn of(key: &[u8], entry: &Entry) -> Self {
        Self { keys: 1, bytes: (key.len() + entry.value.len()) as i64 }
    }

    fn minus(self, other: Self) -> Self {
        Self { keys: self.keys - other.keys, bytes: self.bytes - other.bytes }
    }
}

impl Namespace {
    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8], now: Instant) -> Option<Arc<[u8]>> {
        self.shard(key).live(key, now).map(|entry| Arc::clone(&entry.value))
    }

    /// Stores a value, with an expiry or without.
    pub(super) fn set(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<(), QuotaExceeded> {
        self.sweeping(now, || self.store(&mut self.shard(key), key, Entry::new(value, ttl, now), now))
    }

    /// Stores a value when the key holds what is expected; whether it did.
    pub(super) fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        value: &[u8],
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<bool, QuotaExceeded> {
        self.sweeping(now, || {
            let mut shard = self.shard(key);
            let found = shard.live(key, now).map_or(Expected::Absent, |entry| Expected::Value(&entry.value));
            if found != expected {
                return Ok(false);
            }
            self.store(&mut shard, key, Entry::new(value, ttl, now), now).map(|()| true)
        })
    }

    /// Adds to a number, wrapping; `ttl` applies when the key is new.
    pub(super) fn add(&self, key: &[u8], delta: i64, ttl: Option<Duration>, now: Instant) -> Result<i64, AddError> {
        self.sweeping(now, || {
            let mut shard = self.shard(key);
            let (old, expires) = match shard.live(key, now) {
                Some(entry) => (number(&entry.value), entry.expires),
                None => (Some(0), ttl.and_then(|ttl| now.checked_add(ttl))),
            };
            let Some(old) = old else { return Ok(Err(AddError::NotANumber)) };
            let sum = old.wrapping_add(delta);
            self.store(&mut shard, key, Entry { value: sum.to_le_bytes().into(), expires }, now).map(|()| Ok(sum))
        })
        .unwrap_or(Err(AddError::Quota))
    }

    /// Removes a key; whether it was there.
    pub(super) fn remove(&self, key: &[u8], now: Instant) -> bool {
        let Some((key, entry)) = self.shard(key).entries.remove_entry(key) else { return false };
        self.release(Cost::of(&key, &entry));
        entry.is_live(now)
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the length")]
        lock(&self.shards[index])
    }

    fn store(&self, shard: &mut Shard, key: &[u8], entry: Entry, now: Instant) -> Result<(), QuotaExceeded> {
        if shard.entries.len() >= shard.next_sweep.max(FIRST_SWEEP) {
            self.sweep(shard, now);
        }
        let freed = shard.entries.get(key).map_or_else(Cost::default, |old| Cost::of(key, old));
        self.reserve(Cost::of(key, &entry).minus(freed))?;
        match shard.entries.get_mut(key) {
            Some(slot) => *slot = entry,
            None => _ = shard.entries.insert(key.into(), entry),
        }
        Ok(())
    }

    fn reserve(&self, cost: Cost) -> Result<(), QuotaExceeded> {
        let keys = self.keys.fetch_add(cost.keys, Relaxed) + cost.keys;
        let bytes = self.bytes.fetch_add(cost.bytes, Relaxed) + cost.bytes;
        let exceeded = (cost.keys > 0 && keys > MAX_KEYS) || (cost.bytes > 0 && bytes > MAX_BYTES);
        if exceeded {
            self.release(cost);
            return Err(QuotaExceeded);
        }
        Ok(())
    }

    fn release(&self, cost: Cost) {
        self.keys.fetch_sub(cost.keys, Relaxed);
        self.bytes.fetch_sub(cost.bytes, Relaxed);
    }

    /// Drops the expired entries of a shard.
    fn sweep(&self, shard: &mut Shard, now: Instant) {
        shard.entries.retain(|key, entry| {
            let live = entry.is_live(now);
            if !live {
                self.release(Cost::of(key, entry));
            }
            live
        });
        shard.next_sweep = shard.entries.len() * 2;
    }

    /// Tries once more after a sweep of everything when the quota is used up.
    fn sweeping<R>(&self, now: Instant, attempt: impl Fn() -> Result<R, QuotaExceeded>) -> Result<R, QuotaExceeded> {
        attempt().or_else(|exceeded| if self.sweep_all(now) { attempt() } else { Err(exceeded) })
    }

    /// False when that was done a moment ago.
    fn sweep_all(&self, now: Instant) -> bool {
        let mut swept = lock(&self.swept);
        if swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_INTERVAL) {
            return false;
        }
        *swept = Some(now);
        self.shards.iter().for_each(|shard| self.sweep(&mut lock(shard), now));
        true
    }
}

impl Shard {
    fn live(&self, key: &[u8], now: Instant) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_live(now))
    }
}

fn number(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_le_bytes)
}

/// Every change under these locks is complete at any point where it could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn values_expire() {
        let (state, now) = (Namespace::default(), Instant::now());
        state.set(b"k", b"v", Some(SECOND), now).unwrap();
        assert_eq!(state.get(b"k", now).as_deref(), Some(&b"v"[..]));
        assert_eq!(state.get(b"k", now + SECOND), None);
        assert!(!state.remove(b"k", now + SECOND));
        state.set(b"k", b"v", None, now).unwrap();
        assert!(state.get(b"k", now + 1000 * SECOND).is_some());
        assert!(state.remove(b"k", now));
        assert_eq!((state.keys.load(Relaxed), state.bytes.load(Relaxed)), (0, 0));
    }

    #[test]
    fn compare_and_swap_stores_only_over_the_expected() {
        let (state, now) = (Namespace::default(), Instant::now());
        let swap = |expected, value| state.compare_and_swap(b"k", expected, value, None, now);
        assert_eq!(swap(Expected::Value(b"a"), b"b"), Ok(false));
        assert_eq!(swap(Expected::Absent, b"a"), Ok(true));
        assert_eq!(swap(Expected::Absent, b"b"), Ok(false));
        assert_eq!(swap(Expected::Value(b"a"), b"b"), Ok(true));
        assert_eq!(state.get(b"k", now).as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn add_counts_from_zero_and_keeps_the_first_expiry() {
        let (state, now) = (Namespace::default(), Instant::now());
        assert_eq!(state.add(b"n", 5, Some(SECOND), now), Ok(5));
        assert_eq!(state.add(b"n", -7, Some(100 * SECOND), now), Ok(-2));
        assert_eq!(state.add(b"n", 1, None, now + SECOND), Ok(1));
        state.set(b"text", b"abc", None, now).unwrap();
        assert_eq!(state.add(b"text", 1, None, now), Err(AddError::NotANumber));
        state.set(b"max", &i64::MAX.to_le_bytes(), None, now).unwrap();
        assert_eq!(state.add(b"max", 1, None, now), Ok(i64::MIN));
    }

    #[test]
    fn the_key_quota_holds_and_expired_keys_make_room() {
        let (state, now) = (Namespace::default(), Instant::now());
        for n in 0..MAX_KEYS {
            state.set(&n.to_le_bytes(), b"", Some(SECOND), now).unwrap();
        }
        assert_eq!(state.set(b"more", b"", None, now), Err(QuotaExceeded));
        assert_eq!(state.set(&0_i64.to_le_bytes(), b"x", None, now), Ok(()));
        assert_eq!(state.set(b"more", b"", None, now + SECOND), Ok(()));
        assert_eq!(state.keys.load(Relaxed), 2);
    }

    #[test]
    fn the_byte_quota_holds() {
        let (state, now, value) = (Namespace::default(), Instant::now(), vec![0; 64 << 10]);
        let stored = (0_u32..1000).take_while(|n| state.set(&n.to_le_bytes(), &value, None, now).is_ok()).count();
        assert_eq!(stored, (16 << 20) / ((64 << 10) + 4));
        assert!(state.remove(&0_u32.to_le_bytes(), now));
        assert_eq!(state.set(b"abcd", &value, None, now), Ok(()));
    }

    #[test]
    fn expired_entries_do_not_pile_up() {
        let (state, now) = (Namespace::default(), Instant::now());
        for n in 0_u32..20_000 {
            state.set(&n.to_le_bytes(), b"", Some(SECOND), now + n * SECOND).unwrap();
        }
        assert!(state.keys.load(Relaxed) <= (SHARDS * FIRST_SWEEP) as i64);
    }

    #[test]
    fn a_namespace_lives_as_long_as_its_filters() {
        let (all, now) = (SharedState::default(), Instant::now());
        let first = all.of(&"auth".into());
        first.set(b"k", b"v", None, now).unwrap();
        assert!(all.of(&"auth".into()).get(b"k", now).is_some());
        assert!(all.of(&"other".into()).get(b"k", now).is_none());
        drop(first);
        assert!(all.of(&"auth".into()).get(b"k", now).is_none());
    }
}
