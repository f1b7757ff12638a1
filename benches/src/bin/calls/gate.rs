//! The gate: how often a request may ask for memory and call the system, as it was committed, beside what it does now.
//!
//! **Invariant:** one more of either for every second request fails.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::Result;
use meshup_benches::committed;
use serde::{Deserialize, Serialize};

/// How much more of each is let pass: what a request does once is a whole one.
const TOLERANCE: f64 = 0.5;

/// What one request takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Taken {
    /// Blocks of memory that were asked for or resized.
    pub(crate) blocks: f64,
    /// Calls of the system, but for those that [wait for several connections](super::system::WAITING) at once.
    pub(crate) system_calls: f64,
}

/// By the name of the scenario.
pub(crate) type All = BTreeMap<String, Taken>;

/// Commits these.
pub(crate) fn write(file: &Path, all: &All) -> Result<()> {
    let hundredths = |number: f64| (number * 100.0).round() / 100.0;
    let rounded =
        |taken: &Taken| Taken { blocks: hundredths(taken.blocks), system_calls: hundredths(taken.system_calls) };
    let rounded: All = all.iter().map(|(name, taken)| (name.clone(), rounded(taken))).collect();
    let comment = "# Blocks of memory and system calls per proxied request; `make calls-check` compares.\n\
        # After a change that is worth its price: `make calls-commit`.\n";
    committed::write(file, comment, &rounded)
}

/// What is wrong with `now`; empty if nothing is.
pub(crate) fn faults(committed: &All, now: &All) -> String {
    let mut faults = String::new();
    for (scenario, now) in now {
        let Some(committed) = committed.get(scenario) else {
            _ = writeln!(faults, "{scenario}: no committed figure");
            continue;
        };
        let kinds = [
            ("blocks of memory", committed.blocks, now.blocks),
            ("system calls", committed.system_calls, now.system_calls),
        ];
        for (what, before, after) in kinds.into_iter().filter(|(_, before, after)| *after >= before + TOLERANCE) {
            _ = writeln!(faults, "{scenario}: {before:.2} -> {after:.2} {what}");
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(blocks: f64, system_calls: f64) -> All {
        All::from([("no filters".to_owned(), Taken { blocks, system_calls })])
    }

    #[test]
    fn one_more_fails_and_is_named() {
        let committed = taken(12.0, 4.0);
        assert_eq!(faults(&committed, &taken(12.4, 4.4)), "");
        assert_eq!(faults(&committed, &taken(13.0, 4.0)), "no filters: 12.00 -> 13.00 blocks of memory\n");
        assert_eq!(faults(&committed, &taken(11.0, 5.0)), "no filters: 4.00 -> 5.00 system calls\n");
        assert_eq!(faults(&All::new(), &committed), "no filters: no committed figure\n");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        write(file.path(), &taken(12.004, 4.0)).expect("it is written");
        assert_eq!(committed::read::<All>(file.path()).expect("it is read"), taken(12.0, 4.0));
    }
}
