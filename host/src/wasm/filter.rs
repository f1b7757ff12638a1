//! A configured filter, shared by the workers of one or more generations.
//!
//! **Invariant:** a [`Filter`] exists only when its module accepted its configuration.

use std::{sync::Arc, time::Instant};

use super::{
    environment::Environment,
    fault::{ConfigureError, Fault, FaultCause},
    instance::Instance,
    module::Module,
    rate::LineLimit,
    runtime::Runtime,
    statistics::{FilterStatistics, Statistics},
};
use crate::config::{FilterLimits, Isolation, OnError};

/// Everything that makes a filter what it is. Two generations whose specs are equal can share the [`Filter`] and so
/// keep the instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSpec {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its code.
    pub module: Arc<Module>,
    /// What an exchange gets when it faults.
    pub on_error: OnError,
    /// How many exchanges share an instance.
    pub isolation: Isolation,
    /// Limits of each instance.
    pub limits: FilterLimits,
    /// Its configuration, JSON.
    pub config: Arc<str>,
    /// The most lines per second it may log; `u32::MAX` means no limit, for modules whose log is their purpose.
    pub log_lines_per_second: u32,
}

impl FilterSpec {
    /// Enough to find a fault, too little to fill a disk.
    pub const LOG_LINES_PER_SECOND: u32 = 100;
}

/// A filter that accepted its configuration, with its numbers.
pub struct Filter {
    spec: FilterSpec,
    environment: Arc<Environment>,
    statistics: Statistics,
    fault_lines: LineLimit,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Filter {
    /// Configures a throw-away instance, and with that the filter.
    ///
    /// # Errors
    /// [`ConfigureError`] when the guest refuses the configuration or faults.
    pub fn new(runtime: &Arc<Runtime>, spec: FilterSpec) -> Result<Arc<Self>, ConfigureError> {
        let environment = runtime.environment(&spec.name, &spec.limits, spec.log_lines_per_second);
        let statistics = Statistics::new(&spec.name);
        let filter = Self { spec, environment, statistics, fault_lines: LineLimit::per_second(1) };
        filter.instantiate().map_err(|cause| (Arc::clone(&filter.spec.name), cause))?;
        Ok(Arc::new(filter))
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &FilterSpec {
        &self.spec
    }

    /// Its numbers so far.
    #[must_use]
    pub fn statistics(&self) -> FilterStatistics {
        self.statistics.read()
    }

    /// A fresh, configured instance.
    pub(super) fn instantiate(&self) -> Result<Instance, FaultCause> {
        Instance::configured(&self.spec.module, &self.environment, &self.spec.config)
    }

    pub(super) fn numbers(&self) -> &Statistics {
        &self.statistics
    }

    /// Counts a fault and logs it, once per second at most.
    #[cold]
    pub(super) fn fault(&self, cause: FaultCause) -> Fault {
        self.statistics.count_fault(&cause);
        let fault = Fault { filter: Arc::clone(&self.spec.name), cause };
        if let Some(suppressed) = self.fault_lines.admit(Instant::now()) {
            tracing::error!(filter = &*fault.filter, kind = fault.cause.label(), suppressed, "{fault}");
        }
        fault
    }
}
