//! What a rule decides, and how that is told.
//!
//! **Invariant:** a decision has one series of the metric, which is looked up once.

use std::cell::OnceCell;

use meshup_sdk::{metrics::CounterSeries, prelude::*};

static DECISIONS: Counter<2> = Counter::new("access_decisions_total", ["rule", "decision"]);

/// What happens to the requests that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Allow,
    Deny,
}

/// A rule's name and what comes of it.
#[derive(Debug)]
pub(crate) struct Decision {
    rule: String,
    label: &'static str,
    series: OnceCell<CounterSeries>,
}

const ALLOW: &str = "allow";
const DENY: &str = "deny";
const DRY_RUN_DENY: &str = "dry-run-deny";

impl Decision {
    pub(crate) fn new(rule: String, action: Action, dry_run: bool) -> Self {
        let label = match action {
            Action::Allow => ALLOW,
            Action::Deny if dry_run => DRY_RUN_DENY,
            Action::Deny => DENY,
        };
        Self { rule, label, series: OnceCell::new() }
    }

    pub(crate) fn rule(&self) -> &str {
        &self.rule
    }

    /// `allow`, `deny` or `dry-run-deny`.
    pub(crate) fn label(&self) -> &'static str {
        self.label
    }

    pub(crate) fn passes(&self) -> bool {
        self.label != DENY
    }

    /// Counts it, and logs it unless it is a plain yes.
    pub(crate) fn count(&self) {
        self.series.get_or_init(|| DECISIONS.with([&self.rule, self.label])).add(1);
        match self.label {
            DENY => info!("denied by rule {}", self.rule),
            DRY_RUN_DENY => info!("dry run: would be denied by rule {}", self.rule),
            _ => {}
        }
    }
}
