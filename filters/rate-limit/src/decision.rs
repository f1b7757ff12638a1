//! What is decided, and how that is counted.
//!
//! **Invariant:** each request is counted once; a series of the metric is looked up once.

use std::cell::{Cell, OnceCell};

use meshup_sdk::{metrics::CounterSeries, prelude::*};

static DECISIONS: Counter<1> = Counter::new("rate_limit_decisions_total", ["decision"]);
static STATE_FULL: Counter = Counter::new("rate_limit_state_full_total", []);

/// A full state is logged no more often.
const PAUSE: Duration = Duration::from_secs(60);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    Deny,
    DryRunDeny,
}

impl Decision {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::DryRunDeny => "dry-run-deny",
        }
    }
}

/// The series of this instance.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    allow: OnceCell<CounterSeries>,
    deny: OnceCell<CounterSeries>,
    dry_run_deny: OnceCell<CounterSeries>,
    warned: Cell<Option<Duration>>,
}

impl Decisions {
    pub(crate) fn count(&self, decision: Decision) {
        let series = match decision {
            Decision::Allow => &self.allow,
            Decision::Deny => &self.deny,
            Decision::DryRunDeny => &self.dry_run_deny,
        };
        series.get_or_init(|| DECISIONS.with([decision.label()])).add(1);
    }

    /// No bucket could be kept for a request.
    pub(crate) fn count_state_full(&self, error: state::HostError) {
        STATE_FULL.add(1);
        let now = clock::monotonic();
        if self.warned.get().is_none_or(|warned| now.saturating_sub(warned) >= PAUSE) {
            self.warned.set(Some(now));
            warn!("no room to count another key: {error}");
        }
    }
}
