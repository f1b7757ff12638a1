//! A process and those that it started, by what `/proc` says.
//!
//! **Invariant:** a process that has ended and is only not yet asked for its status belongs to no family.

use std::fs::{self, DirEntry};

use anyhow::Result;

/// One line of `/proc/ID/stat`, proc_pid_stat(5).
pub(super) struct Stat {
    pub(super) id: u32,
    parent: u32,
    /// CPU time, of which there are `clock_ticks_per_second`.
    pub(super) ticks: u64,
}

/// A process, all that it started and that still run, and so on; the process itself comes first.
pub(super) fn of(ancestor: u32) -> Result<Vec<Stat>> {
    let mut rest = stats()?;
    let mut family: Vec<Stat> = rest.extract_if(.., |stat| stat.id == ancestor).collect();
    let mut next = 0;
    while let Some(parent) = family.get(next).map(|stat| stat.id) {
        family.extend(rest.extract_if(.., |stat| stat.parent == parent));
        next += 1;
    }
    Ok(family)
}

fn stats() -> Result<Vec<Stat>> {
    // `self` and `thread-self` are there besides.
    let is_id = |entry: &DirEntry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let processes = fs::read_dir("/proc")?.flatten().filter(is_id);
    // A process may end between listing and reading.
    Ok(processes.filter_map(|process| parse(&fs::read_to_string(process.path().join("stat")).ok()?)).collect())
}

/// The second field, the name in parentheses, may hold anything; the fields behind it are counted from 3.
fn parse(line: &str) -> Option<Stat> {
    let (id, _) = line.split_once(' ')?;
    let (_, rest) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let runs = !fields.first()?.starts_with(['Z', 'X']);
    let stat = Stat { id: id.parse().ok()?, parent: field(4)?.try_into().ok()?, ticks: field(14)? + field(15)? };
    runs.then_some(stat)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn stat_lines_are_read_past_odd_names() {
        let stat = parse("42 (a b) c) S 7 1 1 0 -1 0 0 0 0 0 1500 250 9 9 20 0").unwrap();
        assert_eq!((stat.id, stat.parent, stat.ticks), (42, 7, 1750));
    }

    #[test]
    fn who_has_ended_is_not_there() {
        assert!(parse("42 (a) Z 7 1 1 0 -1 0 0 0 0 0 1500 250 9 9 20 0").is_none());
    }
}
