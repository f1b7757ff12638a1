//! What the workers know together about the keys of a URL: the set, who fetches it, and when not to ask.
//!
//! **Invariant:** at most one lease is out; it ends with its exchange, or by itself soon after its fetch has to.

use std::time::Duration;

use meshup_sdk::prelude::*;

use crate::{
    key_set::KeySet,
    source::{Failure, Source},
};

static FETCHES: Counter<1> = Counter::new("jwt_jwks_fetches_total", ["result"]);
static KEYS: Gauge = Gauge::new("jwt_jwks_keys", []);
static LAST_SUCCESS: Gauge = Gauge::new("jwt_jwks_last_success_timestamp_seconds", []);

/// After a failure nobody asks for this long, and twice as long after each more, up to the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A lease outlives its fetch by this much, when it was not given back.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// The keys of the shared state. They differ by source, since the state outlives a change of the configuration.
#[derive(Debug)]
pub(crate) struct Shared {
    set: String,
    lease: String,
    back_off: String,
    failures: String,
    cooldown: String,
}

impl Shared {
    pub(crate) fn of(source: &Source) -> Self {
        let host = source.host.as_deref().unwrap_or_default();
        let digest = crypto::sha256([&source.upstream, " ", host, " ", &source.path].concat().as_bytes());
        let source: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let key = |what: &str| format!("jwks.{what}.{source}");
        Self {
            set: key("set"),
            lease: key("lease"),
            back_off: key("back-off"),
            failures: key("failures"),
            cooldown: key("cooldown"),
        }
    }

    /// The shared set, when it is newer than what is held.
    pub(crate) fn newer_than(&self, held: Option<Duration>) -> Option<KeySet> {
        KeySet::from_shared(&state::get(&self.set)?, held)
    }

    /// The right to fetch; `None` when somebody else has it, and during a back-off.
    pub(crate) fn lease(&self, timeout: Duration) -> Option<Lease<'_>> {
        if state::get(&self.back_off).is_some() {
            return None;
        }
        let ttl = timeout.saturating_add(LEASE_MARGIN);
        let leased = state::compare_and_swap(&self.lease, None, [1], Some(ttl)) == Ok(true);
        // Not `then_some`: a lease that is dropped is given back, also one that was not obtained.
        leased.then(|| Lease(self))
    }

    /// The same, once per cool-down.
    pub(crate) fn lease_for_unknown_key(&self, timeout: Duration, cooldown: Duration) -> Option<Lease<'_>> {
        if state::get(&self.cooldown).is_some() {
            return None;
        }
        let lease = self.lease(timeout)?;
        let cooling = state::compare_and_swap(&self.cooldown, None, [1], Some(cooldown)) == Ok(true);
        cooling.then_some(lease)
    }

    /// Whether somebody fetches now.
    pub(crate) fn is_leased(&self) -> bool {
        state::get(&self.lease).is_some()
    }
}

/// The right to fetch.
#[derive(Debug)]
pub(crate) struct Lease<'a>(&'a Shared);

impl Lease<'_> {
    /// Shares what was fetched.
    pub(crate) fn succeeded(self, set: &KeySet) {
        FETCHES.with(["ok"]).add(1);
        KEYS.set(set.keys.len() as f64);
        LAST_SUCCESS.set(clock::unix().as_secs_f64());
        if let Err(error) = state::set(&self.0.set, set.to_shared(), None) {
            warn!("the key set cannot be shared, so each worker fetches it: {error}");
        }
        if let Err(error) = state::remove(&self.0.failures) {
            warn!("the failures cannot be forgotten: {error}");
        }
    }

    /// Keeps everybody from asking again for a while.
    pub(crate) fn failed(self, failure: &Failure) {
        FETCHES.with([failure.label()]).add(1);
        let failures = state::add(&self.0.failures, 1, None).unwrap_or(1);
        let doublings = u32::try_from(failures.clamp(1, 16) - 1).unwrap_or_default();
        let pause = (BACK_OFF.0 * 2_u32.pow(doublings)).min(BACK_OFF.1);
        if let Err(error) = state::set(&self.0.back_off, [1], Some(pause)) {
            warn!("no back-off: {error}");
        }
        warn!("the key set could not be fetched ({failure}); not asking for {} s", pause.as_secs());
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // What fails to be removed expires.
        let _ = state::remove(&self.0.lease);
    }
}
