//! What the host calls of an instance work on: the part all instances of a filter share, and each instance's own.
//!
//! **Invariant:** an instance holds an exchange's [`ExchangeInfo`] only during a call.

use std::{sync::Arc, time::Duration};

use wasmtime::{Memory, StoreContextMut, UpdateDeadline};

use super::{
    cpu::{CpuBudget, Ticker},
    limits::{MemoryBudget, MemoryLimit},
    rate::LineLimit,
    series::{FilterSeries, SeriesHandles},
    state::Namespace,
};
use crate::{config::FilterLimits, exchange::ExchangeInfo};

/// CPU time that a start function and `configure` have each at least: a filter may compile regular expressions there.
const SETUP_CPU: Duration = Duration::from_millis(500);

/// What all instances of a filter share.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) filter: Arc<str>,
    pub(super) limits: FilterLimits,
    pub(super) memory: Arc<MemoryBudget>,
    pub(super) ticker: Arc<Ticker>,
    pub(super) log: LineLimit,
    pub(super) state: Arc<Namespace>,
    pub(super) series: Arc<FilterSeries>,
}

/// What one instance has to itself; the data of its store.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) environment: Arc<Environment>,
    /// The exported memory; none until the instance is complete.
    pub(super) memory: Option<Memory>,
    /// The exchange whose event is being handled.
    pub(super) info: Option<Box<ExchangeInfo>>,
    pub(super) memory_limit: MemoryLimit,
    pub(super) cpu: CpuBudget,
    pub(super) series: SeriesHandles,
    /// The error that it logged last during its setup, which may be why it trapped; none once it is configured.
    pub(super) setup_error: Option<String>,
    /// For values that must be put together before they are handed over.
    pub(super) scratch: Vec<u8>,
}

impl Guest {
    pub(super) fn new(environment: &Arc<Environment>) -> Self {
        Self {
            environment: Arc::clone(environment),
            memory: None,
            info: None,
            memory_limit: MemoryLimit::new(environment.limits.memory_bytes, &environment.memory),
            cpu: CpuBudget::new(environment.limits.cpu_per_call.max(SETUP_CPU)),
            series: SeriesHandles::default(),
            setup_error: Some(String::new()),
            scratch: Vec::new(),
        }
    }

    /// The instance is configured: what follows is calls for exchanges.
    pub(super) fn end_setup(&mut self) {
        self.cpu.set_limit(self.environment.limits.cpu_per_call);
        self.setup_error = None;
    }

    /// A call begins: limits count from here.
    #[inline]
    pub(super) fn begin_call(&mut self) {
        self.environment.ticker.mark_used();
        self.memory_limit.begin_call();
        self.cpu.begin_call();
    }
}

/// The epoch moved on while the guest ran: end it when its budget is spent.
pub(super) fn on_epoch(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    let guest = store.data_mut();
    guest.environment.ticker.mark_used();
    Ok(if guest.cpu.is_spent() { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
}
