//! How much memory an instance may take, and all of them together.
//!
//! **Invariant:** what an instance took is given back when it is dropped. A refused growth is remembered until the next call, so that the abort that follows it is told apart
//! from any other trap.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use metrics::Gauge;
use wasmtime::ResourceLimiter;

use super::fault::FaultCause;

/// Table elements of one instance; also what the pool reserves room for.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// Tables of one instance: the function table and one for references.
pub(super) const TABLES: u32 = 2;

/// The linear memory of all instances of the process.
pub(super) struct MemoryBudget {
    limit: AtomicUsize,
    used: AtomicUsize,
    metric: Gauge,
}

impl std::fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBudget").field("limit", &self.limit).field("used", &self.used).finish_non_exhaustive()
    }
}

impl MemoryBudget {
    /// Without a limit.
    pub(super) fn new() -> Self {
        let metric = metrics::gauge!("meshup_filter_memory_bytes");
        Self { limit: AtomicUsize::new(usize::MAX), used: AtomicUsize::new(0), metric }
    }

    /// What is used already stays.
    pub(super) fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Relaxed);
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit.load(Relaxed));
        let taken = self.used.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if taken {
            self.metric.increment(bytes as f64);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
        self.metric.decrement(bytes as f64);
    }
}

/// Why a growth was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Own,
    Shared,
}

/// Limits the growth of one instance.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    bytes: usize,
    budget: Arc<MemoryBudget>,
    /// Of the budget.
    taken: usize,
    /// By the latest growth.
    growing: usize,
    refused: Option<Refused>,
}

impl MemoryLimit {
    pub(super) fn new(bytes: usize, budget: &Arc<MemoryBudget>) -> Self {
        Self { bytes, budget: Arc::clone(budget), taken: 0, growing: 0, refused: None }
    }

    /// Forgets refusals: a new call begins.
    pub(super) fn begin_call(&mut self) {
        self.refused = None;
    }

    /// Why this call was refused memory, if it was.
    pub(super) fn refused(&self) -> Option<FaultCause> {
        self.refused.map(|refused| match refused {
            Refused::Own => FaultCause::MemoryLimit { limit: self.bytes },
            Refused::Shared => FaultCause::FilterMemory { limit: self.budget.limit.load(Relaxed) },
        })
    }

    /// The limit, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn admit(&mut self, fits: bool) -> wasmtime::Result<bool> {
        if !fits {
            self.refused = Some(Refused::Own);
        }
        Ok(fits)
    }

    fn take(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            (self.taken, self.growing) = (self.taken + bytes, bytes);
        } else {
            self.refused = Some(Refused::Shared);
        }
        taken
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.growing = 0;
        let fits = self.admit(desired <= self.bytes && maximum.is_none_or(|maximum| desired <= maximum))?;
        Ok(fits && self.take(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        let growing = std::mem::take(&mut self.growing);
        self.taken -= growing;
        self.budget.give_back(growing);
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.admit(desired <= TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        1
    }
}
