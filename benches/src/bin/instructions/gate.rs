//! The gate: what a request may cost, as it was committed, beside what it costs now.
//!
//! A filter is a small share of a request, so that what filters add to it, and [`GUEST`] of that, are held by themselves.
//!
//! **Invariant:** a total that grew by more than [`TOLERANCE`] fails, and the message says where it grew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use anyhow::Result;
use meshup_benches::committed;
use serde::{Deserialize, Serialize};

/// How much more than the committed figure is let pass, as a share of it.
const TOLERANCE: f64 = 0.05;

/// How much more filters may add; as a difference of two counts it varies more.
const FILTERS_TOLERANCE: f64 = 0.1;

/// What the scenarios with filters are compared with.
const WITHOUT: &str = "no filters";

/// The part that is compiled WebAssembly, whose count is exact.
const GUEST: &str = "guest";

/// Instructions per request of one scenario, and what makes them up.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cost {
    pub(crate) total: u64,
    pub(crate) parts: BTreeMap<String, u64>,
}

/// Costs by the name of their scenario.
pub(crate) type Costs = BTreeMap<String, Cost>;

/// Commits these costs.
pub(crate) fn write(file: &Path, costs: &Costs) -> Result<()> {
    let comment = "# User instructions per proxied request, counted by callgrind; `make instructions` compares.\n\
        # After a change that is worth its price: `make instructions-commit`.\n";
    committed::write(file, comment, costs)
}

/// What is wrong with `now`; empty if nothing is.
pub(crate) fn faults(committed: &Costs, now: &Costs) -> String {
    let mut faults = String::new();
    let without = committed.get(WITHOUT).zip(now.get(WITHOUT)).map(|(before, after)| (before.total, after.total));
    for (scenario, now) in now {
        match committed.get(scenario) {
            None => _ = writeln!(faults, "{scenario}: no committed figure"),
            Some(committed) if exceeds(committed.total, now.total, TOLERANCE) => {
                tell(&mut faults, scenario, committed, now);
            }
            Some(committed) if committed.parts.contains_key(GUEST) => {
                let (guest, with) = ((committed.part(GUEST), now.part(GUEST)), (committed.total, now.total));
                let added = without.map(|without| (with.0.saturating_sub(without.0), with.1.saturating_sub(without.1)));
                tell_share(&mut faults, scenario, &format!("the part {GUEST}"), guest, TOLERANCE);
                tell_share(&mut faults, scenario, "what its filters add", added.unwrap_or_default(), FILTERS_TOLERANCE);
            }
            Some(_) => (),
        }
    }
    faults
}

/// A share of a scenario, before and after, if it grew by more than `tolerance`.
fn tell_share(faults: &mut String, scenario: &str, what: &str, (before, after): (u64, u64), tolerance: f64) {
    if exceeds(before, after, tolerance) {
        _ = writeln!(faults, "{scenario}: {what}: {before} -> {after}, {:.1} % more", more(before, after));
    }
}

/// The parts that no committed figure is known of; empty if there are none.
pub(crate) fn unknown_parts(committed: &Costs, now: &Costs) -> Vec<String> {
    let parts = now.iter().flat_map(|(scenario, cost)| cost.parts.keys().map(move |part| (scenario, part)));
    let is_known = |scenario, part| committed.get(scenario).is_none_or(|cost| cost.parts.contains_key(part));
    let unknown: BTreeSet<_> =
        parts.filter(|(scenario, part)| !is_known(*scenario, *part)).map(|(_, part)| part).collect();
    unknown.into_iter().cloned().collect()
}

impl Cost {
    fn part(&self, part: &str) -> u64 {
        self.parts.get(part).copied().unwrap_or_default()
    }
}

/// Percent.
fn more(before: u64, after: u64) -> f64 {
    100.0 * (after as f64 / before as f64 - 1.0)
}

fn exceeds(committed: u64, now: u64, tolerance: f64) -> bool {
    now as f64 > committed as f64 * (1.0 + tolerance)
}

/// The scenario and its parts that are not what they were, the one that grew most first; what shrank may only have moved.
fn tell(faults: &mut String, scenario: &str, committed: &Cost, now: &Cost) {
    let (before, after) = (committed.total, now.total);
    let share = more(before, after);
    _ = writeln!(faults, "{scenario}: {before} -> {after} instructions per request, {share:.1} % more:");
    let parts: BTreeSet<_> = committed.parts.keys().chain(now.parts.keys()).collect();
    let mut changed: Vec<_> = parts
        .into_iter()
        .map(|part| (part, committed.part(part), now.part(part)))
        .filter(|(_, before, after)| before != after)
        .collect();
    changed.sort_by_key(|(_, before, after)| *before as i64 - *after as i64);
    for (part, before, after) in changed {
        _ = writeln!(faults, "  {part:<18} {before:>7} -> {after:>7} {:>+7}", after as i64 - before as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(total: u64, parts: &[(&str, u64)]) -> Costs {
        let parts = parts.iter().map(|&(part, cost)| (part.to_owned(), cost)).collect();
        Costs::from([("no filters".to_owned(), Cost { total, parts })])
    }

    #[test]
    fn a_little_more_passes() {
        assert_eq!(faults(&costs(40_000, &[]), &costs(42_000, &[])), "");
    }

    #[test]
    fn more_than_that_fails_and_says_where() {
        let committed = costs(40_000, &[("hyper", 10_000), ("meshup", 8_000), ("tokio", 4_000)]);
        let now = costs(42_001, &[("hyper", 9_000), ("meshup", 11_000), ("tokio", 4_001)]);
        assert_eq!(
            faults(&committed, &now),
            "no filters: 40000 -> 42001 instructions per request, 5.0 % more:\n  \
             meshup                8000 ->   11000   +3000\n  \
             tokio                 4000 ->    4001      +1\n  \
             hyper                10000 ->    9000   -1000\n"
        );
    }

    #[test]
    fn a_guest_that_grew_fails_by_itself() {
        let (committed, now) = (costs(40_000, &[("guest", 2_000)]), costs(40_101, &[("guest", 2_101)]));
        assert_eq!(faults(&committed, &now), "no filters: the part guest: 2000 -> 2101, 5.0 % more\n");
        assert_eq!(faults(&committed, &costs(40_100, &[("guest", 2_100)])), "");
        assert_eq!(faults(&costs(40_000, &[]), &costs(40_000, &[])), "");
    }

    #[test]
    fn filters_that_add_more_fail_by_themselves() {
        let all = |without, with| {
            let cost = |total| Cost { total, parts: BTreeMap::from([(GUEST.to_owned(), 100)]) };
            Costs::from([(WITHOUT.to_owned(), cost(without)), ("a filter".to_owned(), cost(with))])
        };
        let committed = all(30_000, 35_000);
        let fault = "a filter: what its filters add: 5000 -> 5501, 10.0 % more\n";
        assert_eq!(faults(&committed, &all(30_000, 35_501)), fault);
        assert_eq!(faults(&committed, &all(30_000, 35_500)), "");
        assert_eq!(faults(&committed, &all(31_000, 36_500)), "");
    }

    #[test]
    fn parts_without_a_figure_are_named() {
        let (committed, now) = (costs(8, &[("meshup", 8)]), costs(8, &[("meshup::body", 4), ("meshup::route", 4)]));
        assert_eq!(unknown_parts(&committed, &now), ["meshup::body", "meshup::route"]);
        assert_eq!(unknown_parts(&now, &now), [""; 0]);
    }

    #[test]
    fn a_scenario_without_a_figure_fails() {
        assert_eq!(faults(&Costs::new(), &costs(1, &[])), "no filters: no committed figure\n");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let written = costs(40_000, &[("hyper", 10_000)]);
        write(file.path(), &written).expect("it is written");
        assert_eq!(committed::read::<Costs>(file.path()).expect("it is read"), written);
    }
}
