//! What can go wrong with a filter, and what users read about it.
//!
//! **Invariant:** every cause has one label, and the labels are the values of `meshup_filter_faults_total{kind}`.

use std::{fmt, sync::Arc, time::Duration};

use super::bounds::OutOfBounds;

/// A filter failed an exchange; the exchange gets the filter's `on_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter {filter:?}: {cause}")]
pub struct Fault {
    /// The filter's name.
    pub filter: Arc<str>,
    /// What went wrong.
    pub cause: FaultCause,
}

/// Why a filter failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultCause {
    /// The guest trapped: a panic, a division by zero, an access outside its memory.
    #[error("trapped: {message}")]
    Trap {
        /// What the runtime says about the trap.
        message: String,
    },
    /// One call used more CPU time than `limits.cpu_per_call`, or than the setup of an instance may.
    #[error("CPU limit of {limit:?} per call exceeded: it used {used:.1?}")]
    CpuLimit {
        /// The limit.
        limit: Duration,
        /// What was used when the call was ended.
        used: Duration,
    },
    /// The guest wanted more memory than `limits.memory` and could not go on without.
    #[error("memory limit of {} exceeded", Size(*limit))]
    MemoryLimit {
        /// The limit, bytes.
        limit: usize,
    },
    /// All filters together have as much memory as `filter_memory` lets them have.
    #[error("the memory of all filters, {}, is used up", Size(*limit))]
    FilterMemory {
        /// The limit, bytes.
        limit: usize,
    },
    /// The guest's calls nest too deeply.
    #[error("stack overflow")]
    StackOverflow,
    /// An answer, an address or a length that does not follow the ABI.
    #[error("malformed answer: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// Another exchange's fault ended the instance this exchange was in.
    #[error("the instance was lost to another exchange's fault")]
    InstanceLost,
    /// The filter keeps faulting and no instance is made for a while.
    #[error("keeps faulting; next attempt in {remaining:?}")]
    BackingOff {
        /// Until the next attempt.
        remaining: Duration,
    },
    /// No instance could be made.
    #[error("no instance could be made: {reason}")]
    Instantiate {
        /// What the runtime says.
        reason: String,
    },
    /// The filter refused its configuration.
    #[error("configuration refused: {reason}")]
    Configure {
        /// What the filter says.
        reason: String,
    },
}

impl FaultCause {
    /// Every label, in the order of [`index`](Self::index).
    pub(super) const LABELS: [&'static str; 10] = [
        "trap",
        "cpu-limit",
        "memory-limit",
        "stack-overflow",
        "malformed",
        "instance-lost",
        "backing-off",
        "instantiate",
        "configure",
        "filter-memory",
    ];

    /// The kind of fault as it stands in metrics and `/filters`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        Self::LABELS.get(self.index()).copied().unwrap_or("trap")
    }

    pub(super) fn index(&self) -> usize {
        match self {
            Self::Trap { .. } => 0,
            Self::CpuLimit { .. } => 1,
            Self::MemoryLimit { .. } => 2,
            Self::StackOverflow => 3,
            Self::Malformed { .. } => 4,
            Self::InstanceLost => 5,
            Self::BackingOff { .. } => 6,
            Self::Instantiate { .. } => 7,
            Self::Configure { .. } => 8,
            Self::FilterMemory { .. } => 9,
        }
    }

    pub(super) fn malformed(reason: impl fmt::Display) -> Self {
        Self::Malformed { reason: reason.to_string() }
    }
}

impl From<OutOfBounds> for FaultCause {
    fn from(error: OutOfBounds) -> Self {
        Self::malformed(error)
    }
}

/// A filter could not be brought into service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// The filter itself says no.
    #[error("filter {filter:?}: configuration refused: {reason}")]
    Refused {
        /// The filter's name.
        filter: Arc<str>,
        /// What the filter says.
        reason: String,
    },
    /// The filter failed before it could say anything.
    #[error(transparent)]
    Faulted(#[from] Fault),
}

impl From<(Arc<str>, FaultCause)> for ConfigureError {
    fn from((filter, cause): (Arc<str>, FaultCause)) -> Self {
        match cause {
            FaultCause::Configure { reason } => Self::Refused { filter, reason },
            cause => Self::Faulted(Fault { filter, cause }),
        }
    }
}

/// Bytes in the largest unit that divides them.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{} {name}", self.0 / unit),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_filter_and_the_limit() {
        let fault = Fault { filter: "auth".into(), cause: FaultCause::MemoryLimit { limit: 16 << 20 } };
        assert_eq!(fault.to_string(), "filter \"auth\": memory limit of 16 MiB exceeded");
        let fault = Fault {
            filter: "auth".into(),
            cause: FaultCause::CpuLimit { limit: Duration::from_millis(10), used: Duration::from_micros(10_250) },
        };
        assert_eq!(fault.to_string(), "filter \"auth\": CPU limit of 10ms per call exceeded: it used 10.2ms");
        assert_eq!(Size(1000).to_string(), "1000 bytes");
        assert_eq!(Size(64 << 10).to_string(), "64 KiB");
    }
}
