//! Keys from a URL on an upstream: when they are asked for, by which exchange, and what holds when there is no answer.
//!
//! The exchange that finds the keys older than `refresh` fetches them while others go on with the old ones, in this
//! worker and in others: they share the set and the right to fetch it through the shared state. It checks no token.
//!
//! **Invariant:** one exchange of the proxy fetches at a time, none during a back-off; a set once held is replaced by a
//! newer one only.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use meshup_sdk::prelude::*;

use crate::{
    key_set::KeySet,
    shared::{Lease, Shared},
    source::Source,
};

/// How long the exchanges of a worker go on with old keys before another looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long an exchange pauses at first, and at most, while another fetches what it needs.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(160));

/// Keys from a URL.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawRemote")]
pub(crate) struct Remote {
    source: Source,
    refresh: Duration,
    cooldown: Duration,
    shared: Shared,
    held: RefCell<Option<Rc<KeySet>>>,
    look_again: Cell<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRemote {
    upstream: String,
    path: String,
    host: Option<String>,
    #[serde(default = "default_refresh", with = "duration")]
    refresh: Duration,
    #[serde(default = "default_timeout", with = "duration")]
    timeout: Duration,
    #[serde(default = "default_cooldown", with = "duration")]
    cooldown: Duration,
}

fn default_refresh() -> Duration {
    Duration::from_secs(300)
}

fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_cooldown() -> Duration {
    Duration::from_secs(30)
}

impl TryFrom<RawRemote> for Remote {
    type Error = String;

    fn try_from(raw: RawRemote) -> Result<Self, String> {
        for (key, value) in [("refresh", raw.refresh), ("timeout", raw.timeout), ("cooldown", raw.cooldown)] {
            if value.is_zero() {
                return Err(format!("{key}: expected more than no time"));
            }
        }
        let source = Source::new(raw.upstream, raw.path, raw.host, raw.timeout)?;
        Ok(Self {
            shared: Shared::of(&source),
            source,
            refresh: raw.refresh,
            cooldown: raw.cooldown,
            held: RefCell::default(),
            look_again: Cell::default(),
        })
    }
}

impl Remote {
    /// The keys, when nobody has to be asked about them now.
    pub(crate) fn fresh(&self) -> Option<Rc<KeySet>> {
        let now = clock::monotonic();
        self.held().filter(|set| now < self.look_again.get() || self.is_fresh(set, now))
    }

    /// The keys, refreshed or at least as they were; `None` when there never were any.
    pub(crate) async fn current(&self) -> Option<Rc<KeySet>> {
        self.adopt();
        match self.fresh() {
            Some(set) => Some(set),
            None if self.held.borrow().is_none() => self.newer_than(None).await,
            None => self.refreshed().await,
        }
    }

    /// The keys after `known`, in which the key of a token is missing. They are asked for once per cool-down, and not
    /// when they have only just come.
    pub(crate) async fn after(&self, known: &KeySet) -> Option<Rc<KeySet>> {
        match clock::monotonic().saturating_sub(known.fetched) < LOOK_AGAIN {
            true => None,
            false => self.newer_than(Some(known)).await,
        }
    }

    fn held(&self) -> Option<Rc<KeySet>> {
        self.held.borrow().clone()
    }

    fn is_fresh(&self, set: &KeySet, now: Duration) -> bool {
        now.saturating_sub(set.fetched) < self.refresh
    }

    async fn refreshed(&self) -> Option<Rc<KeySet>> {
        self.look_again.set(clock::monotonic().saturating_add(LOOK_AGAIN));
        if let Some(lease) = self.shared.lease(self.source.timeout) {
            self.fetch(lease).await;
        }
        self.held()
    }

    /// A set that is not `known`: another worker's, one fetched here, or one that another exchange is fetching.
    async fn newer_than(&self, known: Option<&KeySet>) -> Option<Rc<KeySet>> {
        let give_up = clock::monotonic().saturating_add(self.source.timeout);
        let mut pause = PAUSES.0;
        loop {
            if let Some(set) = self.beyond(known) {
                return Some(set);
            }
            if let Some(lease) = self.lease_beyond(known) {
                self.fetch(lease).await;
                return self.beyond(known);
            }
            if !self.shared.is_leased() || clock::monotonic() >= give_up {
                return self.beyond(known);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// The newest set at hand, when it is newer than `known`.
    fn beyond(&self, known: Option<&KeySet>) -> Option<Rc<KeySet>> {
        let is_newer = |set: &Rc<KeySet>| known.is_none_or(|known| known.fetched < set.fetched);
        self.held().filter(is_newer).or_else(|| {
            self.adopt();
            self.held().filter(is_newer)
        })
    }

    fn lease_beyond(&self, known: Option<&KeySet>) -> Option<Lease<'_>> {
        match known {
            None => self.shared.lease(self.source.timeout),
            Some(_) => self.shared.lease_for_unknown_key(self.source.timeout, self.cooldown),
        }
    }

    /// Takes over what another worker has fetched since.
    fn adopt(&self) {
        let held = self.held().map(|set| set.fetched);
        if let Some(set) = self.shared.newer_than(held) {
            self.hold(set);
        }
    }

    /// Fetches the keys; whatever comes of it, the lease ends with that.
    async fn fetch(&self, lease: Lease<'_>) {
        match self.source.fetch().await {
            Ok(set) => {
                lease.succeeded(&set);
                self.hold(set);
            }
            Err(failure) => lease.failed(&failure),
        }
    }

    fn hold(&self, set: KeySet) {
        self.look_again.set(Duration::ZERO);
        self.held.replace(Some(Rc::new(set)));
    }
}
