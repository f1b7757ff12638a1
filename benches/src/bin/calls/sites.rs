//! Where allocations come from: the place in the sources that asked, outside of the standard library, and the place in
//! meshup that it was for.
//!
//! **Invariant:** every allocation that was recorded is in the list once.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::allocations::Recorded;

/// The places with the most allocations, `requests` of which were recorded.
pub(crate) fn list(recorded: Vec<Recorded>, requests: usize) -> String {
    let mut sites: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for Recorded { bytes, asked_by } in recorded {
        let site = sites.entry(place(&asked_by.to_string())).or_default();
        *site = (site.0 + 1, site.1 + bytes);
    }
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let mut list = "blocks    bytes  where".to_owned();
    for (place, (count, bytes)) in sites {
        let share = |of: usize| of as f64 / requests as f64;
        _ = write!(list, "\n{:>6.2} {:>8.0}  {place}", share(count), share(bytes));
    }
    list
}

/// `asked in FILE:LINE for FUNCTION at FILE:LINE`, of a backtrace as it is printed.
fn place(backtrace: &str) -> String {
    let frames = frames(backtrace);
    let Some(asked) = frames.iter().position(|(_, file)| !is_library(file)) else { return "?".to_owned() };
    let ours = frames[asked..].iter().find(|(_, file)| file.starts_with("host/src/"));
    match (&frames[asked], ours) {
        ((function, file), Some((_, ours))) if ours == file => format!("{file}  {function}"),
        ((function, file), Some((_, ours))) => format!("{file}  {function}  for {ours}"),
        ((function, file), None) => format!("{file}  {function}"),
    }
}

/// Functions and where they stand, innermost first.
fn frames(backtrace: &str) -> Vec<(String, String)> {
    let mut frames = Vec::new();
    let mut function = String::new();
    for line in backtrace.lines().map(str::trim) {
        match line.strip_prefix("at ") {
            Some(file) => frames.push((std::mem::take(&mut function), short(file))),
            None => function = line.split_once(": ").map_or(line, |(_, name)| name).to_owned(),
        }
    }
    frames
}

/// Without the folders above the crate, and without the column.
fn short(file: &str) -> String {
    let file = file.trim_start_matches("./");
    let end = file.match_indices(':').nth(1).map_or(file.len(), |(at, _)| at);
    let file = &file[..end];
    let registry = file.find("/registry/src/").and_then(|at| file[at + 14..].split_once('/'));
    let own = file.find("/host/src/").map(|at| &file[at + 1..]);
    registry.map_or(own.unwrap_or(file), |(_, inner)| inner).to_owned()
}

/// Whether it is the standard library, this program's counter, or a collection's own code.
fn is_library(file: &str) -> bool {
    const COLLECTIONS: [&str; 3] = ["bytes-", "http-1", "slab-"];
    file.starts_with("/rustc/")
        || file.contains("/library/")
        || file.contains("bin/calls/")
        || COLLECTIONS.iter().any(|name| file.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::place;

    const BACKTRACE: &str = "   0: calls::allocations::count
             at ./benches/src/bin/calls/allocations.rs:60:5
   1: alloc::raw_vec::grow
             at /rustc/abc/library/alloc/src/raw_vec.rs:1:1
   2: hyper::proto::h1::role::encode
             at /root/.cargo/registry/src/index-1/hyper-1.12.0/src/proto/h1/role.rs:90:13
   3: meshup::server::connection::drive
             at ./host/src/server/connection.rs:120:9
";

    #[test]
    fn a_place_is_who_asked_and_for_whom() {
        assert_eq!(
            place(BACKTRACE),
            "hyper-1.12.0/src/proto/h1/role.rs:90  hyper::proto::h1::role::encode  for host/src/server/connection.rs:120"
        );
        assert_eq!(place("disabled backtrace"), "?");
    }
}
