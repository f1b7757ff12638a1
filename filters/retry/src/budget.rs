//! How many retries may be under way at once: a share of the requests that are.
//!
//! A failing upstream would otherwise get a multiple of its load at the worst time. The counts are those of one
//! instance, which is one worker's; nothing is shared.
//!
//! **Invariant:** an exchange that ends, however it ends, is counted no more.

use std::cell::Cell;

use meshup_sdk::prelude::*;

/// `{ percent = 20, min_concurrent = 10 }`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawBudget")]
pub(crate) struct Budget {
    percent: u32,
    min_concurrent: u32,
    active: Cell<u32>,
    retrying: Cell<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBudget {
    percent: u32,
    min_concurrent: u32,
}

impl Default for RawBudget {
    fn default() -> Self {
        Self { percent: 20, min_concurrent: 10 }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(&RawBudget::default())
    }
}

impl TryFrom<RawBudget> for Budget {
    type Error = String;

    fn try_from(raw: RawBudget) -> Result<Self, String> {
        match raw.percent {
            0..=100 => Ok(Self::new(&raw)),
            percent => Err(format!("invalid percent {percent}: expected 0 to 100")),
        }
    }
}

impl Budget {
    fn new(raw: &RawBudget) -> Self {
        let RawBudget { percent, min_concurrent } = *raw;
        Self { percent, min_concurrent, active: Cell::new(0), retrying: Cell::new(0) }
    }

    /// Counts a request for as long as the guard lives.
    pub(crate) fn enter(&self) -> Active<'_> {
        self.active.set(self.active.get() + 1);
        Active { budget: self, retrying: false }
    }

    fn has_room(&self) -> bool {
        let share = u64::from(self.active.get()) * u64::from(self.percent) / 100;
        u64::from(self.retrying.get()) < share.max(u64::from(self.min_concurrent))
    }
}

/// One request under way.
#[derive(Debug)]
pub(crate) struct Active<'a> {
    budget: &'a Budget,
    retrying: bool,
}

impl Active<'_> {
    /// Counts a retry from now until the next one begins or the request ends. False when there is no room for it.
    pub(crate) fn begin_retry(&mut self) -> bool {
        self.end_retry();
        self.retrying = self.budget.has_room();
        if self.retrying {
            self.budget.retrying.set(self.budget.retrying.get() + 1);
        }
        self.retrying
    }

    fn end_retry(&mut self) {
        if std::mem::take(&mut self.retrying) {
            self.budget.retrying.set(self.budget.retrying.get() - 1);
        }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.end_retry();
        self.budget.active.set(self.budget.active.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: u32, min_concurrent: u32) -> Budget {
        Budget::new(&RawBudget { percent, min_concurrent })
    }

    fn retries(budget: &Budget, requests: usize) -> usize {
        let mut active: Vec<_> = (0..requests).map(|_| budget.enter()).collect();
        active.iter_mut().filter_map(|active| active.begin_retry().then_some(())).count()
    }

    #[test]
    fn retries_are_a_share_of_the_active_requests() {
        for (percent, min_concurrent, requests, expected) in
            [(20, 0, 10, 2), (20, 3, 10, 3), (20, 3, 100, 20), (0, 0, 10, 0), (0, 1, 10, 1), (100, 0, 10, 10)]
        {
            let budget = budget(percent, min_concurrent);
            assert_eq!(retries(&budget, requests), expected);
            assert_eq!((budget.active.get(), budget.retrying.get()), (0, 0));
        }
    }

    #[test]
    fn a_further_retry_of_a_request_takes_the_place_of_the_one_before() {
        let budget = budget(0, 1);
        let mut active = budget.enter();
        assert!(active.begin_retry() && active.begin_retry());
        assert_eq!(budget.retrying.get(), 1);
        assert!(!budget.enter().begin_retry());
        drop(active);
        assert!(budget.enter().begin_retry());
    }
}
