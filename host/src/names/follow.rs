//! Looking one name up for as long as somebody wants to know.
//!
//! **Invariant:** a name is looked up at most once a second, whatever its records say, and a failed look-up changes no
//! address.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Failure, Found, Resolution,
    resolver::{Answer, Memory, Resolver},
};
use crate::{config::Endpoint, observe, random::Random};

/// How soon a name is looked up again at the earliest ...
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// ... and at the latest.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// How soon at the latest after look-ups that failed.
const MAX_FAILURE_PAUSE: Duration = Duration::from_secs(30);
/// Addresses of one name; more are not used.
const MAX_ADDRESSES: usize = 256;

/// Looks up one name.
pub(super) struct Task {
    name: Endpoint,
    resolver: Arc<Resolver>,
    resolution: watch::Sender<Resolution>,
    changes: Arc<watch::Sender<u64>>,
    memory: Memory,
    failures: u32,
    cut: bool,
}

impl Task {
    pub(super) fn new(
        name: Endpoint,
        resolver: Arc<Resolver>,
        resolution: watch::Sender<Resolution>,
        changes: Arc<watch::Sender<u64>>,
    ) -> Self {
        Self { name, resolver, resolution, changes, memory: Memory::default(), failures: 0, cut: false }
    }

    /// Ends when nobody is interested any more.
    pub(super) async fn run(mut self) {
        let wanted = self.resolution.clone();
        tokio::select! {
            () = wanted.closed() => {}
            () = self.keep_looking() => {}
        }
    }

    async fn keep_looking(&mut self) {
        let random = Random::new();
        loop {
            let pause = match self.resolver.look_up(&self.name, &mut self.memory).await {
                Ok(answer) => self.found(answer),
                Err(failure) => self.failed(&failure),
            };
            tokio::time::sleep(with_jitter(pause, &random)).await;
        }
    }

    fn found(&mut self, answer: Answer) -> Duration {
        let addresses = self.bounded(answer.addresses);
        if addresses.is_empty() {
            return self.failed(&Failure::Empty);
        }
        if self.failures > 0 {
            tracing::info!(name = %self.name, addresses = addresses.len(), "the name is resolved");
        }
        observe::count_lookup(&self.name, "ok");
        self.failures = 0;
        self.publish(Resolution { addresses, outcome: Some(Ok(())) });
        answer.ttl.clamp(MIN_PAUSE, MAX_PAUSE)
    }

    fn failed(&mut self, failure: &Failure) -> Duration {
        let addresses = self.resolution.borrow().addresses.clone();
        observe::count_lookup(&self.name, failure.as_str());
        let outcome = Some(Err(failure.clone()));
        if self.resolution.borrow().outcome != outcome {
            let kept = addresses.len();
            tracing::warn!(name = %self.name, error = %failure, kept, "cannot resolve the name; its last addresses are kept");
        }
        self.publish(Resolution { addresses, outcome });
        self.failures = self.failures.saturating_add(1);
        MIN_PAUSE.saturating_mul(1 << (self.failures - 1).min(16)).min(MAX_FAILURE_PAUSE)
    }

    fn publish(&self, resolution: Resolution) {
        let publish = |known: &mut Resolution| {
            let differs = *known != resolution;
            if differs {
                *known = resolution;
            }
            differs
        };
        if self.resolution.send_if_modified(publish) {
            self.changes.send_modify(|number| *number += 1);
        }
    }

    /// The addresses in order, each once. Of too many those are kept that are known already.
    fn bounded(&mut self, found: Vec<Found>) -> Arc<[Found]> {
        let mut found: BTreeSet<Found> = found.into_iter().collect();
        let cut = found.len() > MAX_ADDRESSES;
        if cut && !self.cut {
            tracing::warn!(name = %self.name, addresses = found.len(), limit = MAX_ADDRESSES, "the name has too many addresses");
        }
        self.cut = cut;
        if !cut {
            return found.into_iter().collect();
        }
        let known = self.resolution.borrow().addresses.clone();
        let mut kept: BTreeSet<Found> = known.iter().filter(|known| found.remove(known)).copied().collect();
        let room = MAX_ADDRESSES.saturating_sub(kept.len());
        kept.extend(found.into_iter().take(room));
        kept.into_iter().collect()
    }
}

/// Up to a tenth longer: many proxies that start at the same time shall not ask at the same time.
fn with_jitter(pause: Duration, random: &Random) -> Duration {
    pause + pause / 1000 * u32::try_from(random.below(100)).unwrap_or_default()
}
