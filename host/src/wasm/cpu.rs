//! CPU time of guest calls: the thread that ticks the epoch, and the budget of one call.
//!
//! The tick only makes a guest look at the clock. What counts is the CPU time of the thread, so a worker that the
//! kernel did not schedule is not taken for a looping guest. Reading that clock is a system call; a call that ends
//! within its first tick never makes it.
//!
//! **Invariant:** while a guest call runs, the epoch moves on within two ticks.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, Thread},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, EngineWeak};

/// How often guests look at the clock: the most that a budget is overrun, twice.
const TICK: Duration = Duration::from_millis(2);

/// Ticks after which the thread rests when no guest was called meanwhile.
const TICKS_BEFORE_REST: u32 = 64;

/// Moves the epoch on while guests run, and rests otherwise.
#[derive(Debug)]
pub(super) struct Ticker {
    /// Set by the first call after the thread cleared it. Read by every call and seldom written, so workers share the
    /// cache line without contention.
    used: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticker {
    /// Starts the thread. It ends with the engine, which every instance keeps alive.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self { used: AtomicBool::new(false), thread: OnceLock::new() });
        let (engine, for_thread) = (engine.weak(), Arc::clone(&ticker));
        let handle = thread::Builder::new().name("epoch".into()).spawn(move || for_thread.run(&engine))?;
        _ = ticker.thread.set(handle.thread().clone());
        Ok(ticker)
    }

    /// A guest call begins or goes on: the epoch must move.
    #[inline]
    pub(super) fn mark_used(&self) {
        if !self.used.load(Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.used.store(true, Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, engine: &EngineWeak) {
        while self.tick_for_a_while(engine) {
            if !self.used.swap(false, Relaxed) {
                self.rest(engine);
            }
        }
    }

    /// False when the engine is gone.
    fn tick_for_a_while(&self, engine: &EngineWeak) -> bool {
        for _ in 0..TICKS_BEFORE_REST {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return false };
            engine.increment_epoch();
        }
        true
    }

    /// The time-out is for the end of the engine, and for a call made before `thread` was set.
    fn rest(&self, engine: &EngineWeak) {
        while !self.used.load(Relaxed) && engine.upgrade().is_some() {
            thread::park_timeout(Duration::from_secs(1));
        }
    }
}

/// What one guest call may still use.
#[derive(Debug)]
pub(super) struct CpuBudget {
    limit: Duration,
    /// The thread's CPU time at the first look, within a tick of the call's start.
    started: Option<Duration>,
    /// What the call had used at the latest look.
    used: Duration,
}

impl CpuBudget {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, started: None, used: Duration::ZERO }
    }

    /// A new call begins, with the whole budget.
    pub(super) fn begin_call(&mut self) {
        self.started = None;
    }

    /// From the next call on, this much.
    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The limit.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// What the call had used when it was last looked at.
    pub(super) fn used(&self) -> Duration {
        self.used
    }

    /// Whether the call has used up its budget.
    pub(super) fn is_spent(&mut self) -> bool {
        // A clock that cannot be read would let a guest loop for ever.
        let Some(now) = thread_cpu_time() else { return true };
        let started = *self.started.get_or_insert(now);
        self.used = now.saturating_sub(started);
        self.used >= self.limit
    }
}

pub(super) fn thread_cpu_time() -> Option<Duration> {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpu_time_spends_the_budget() {
        let mut budget = CpuBudget::new(Duration::from_millis(5));
        assert!(!budget.is_spent());
        thread::park_timeout(Duration::from_millis(20));
        assert!(!budget.is_spent());
        while !budget.is_spent() {}
        budget.begin_call();
        assert!(!budget.is_spent());
    }
}
