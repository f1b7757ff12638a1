//! Reading callgrind's result.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// All instructions that were counted.
pub(crate) fn total(profile: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(profile)?;
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals: "));
    let total = totals.map(|total| total.trim().parse::<u64>()).sum::<Result<u64, _>>()?;
    (total > 0).then_some(total).context("callgrind counted nothing")
}

/// The functions with the most instructions of their own, per request.
pub(crate) fn functions(profile: &Path, count: usize, requests: u64) -> Result<String> {
    let mut costs: Vec<_> = own_costs(profile)?.into_iter().collect();
    costs.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
    let mut table = String::new();
    for (name, cost) in costs.iter().take(count) {
        writeln!(table, "{:>8}  {name}", cost / requests)?;
    }
    Ok(table)
}

/// Instructions per request by where the code comes from.
pub(crate) fn parts(profile: &Path, requests: u64) -> Result<BTreeMap<String, u64>> {
    let mut parts: BTreeMap<String, u64> = BTreeMap::new();
    for (function, cost) in own_costs(profile)? {
        *parts.entry(part(&function).to_owned()).or_default() += cost;
    }
    parts.values_mut().for_each(|cost| *cost /= requests);
    // What happens once in a while is not worth a line that comes and goes.
    parts.retain(|_, cost| *cost > 0);
    Ok(parts)
}

/// Where a function comes from: `guest` is compiled WebAssembly, `memory` copies, compares and allocates. Of meshup it is the
/// module.
fn part(function: &str) -> &str {
    const CRATES: [&str; 9] = ["meshup", "hyper", "httparse", "http::", "h2::", "tokio", "wasmtime", "bytes", "memchr"];
    const MEMORY: [&str; 4] = ["mem", "mi_", "alloc::", "core::ptr::drop_in_place"];
    if function.starts_with("0x") {
        return "guest";
    }
    // `<meshup::transport::Transport as tokio::...>` is meshup's.
    let name = function.trim_start_matches(['<', '_', '&']);
    if let Some(path) = name.strip_prefix("meshup::") {
        let module = path.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(path.len());
        return &name[.."meshup::".len() + module];
    }
    let of_crate = CRATES.iter().find(|start| name.starts_with(**start)).map(|start| start.trim_end_matches(':'));
    let of_memory = MEMORY.iter().any(|start| name.starts_with(start));
    of_crate.unwrap_or(if of_memory { "memory" } else { "other" })
}

/// Every function's own instructions.
fn own_costs(profile: &Path) -> Result<HashMap<String, u64>> {
    let output = Command::new("callgrind_annotate").args(["--threshold=100", "--auto=no"]).arg(profile).output()?;
    ensure!(output.status.success(), "callgrind_annotate: {}", String::from_utf8_lossy(&output.stderr));
    let mut costs: HashMap<String, u64> = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((cost, name)) = own_cost(line) else { continue };
        *costs.entry(name).or_default() += cost;
    }
    Ok(costs)
}

/// `1,234 (5.67%)  file.rs:function [object]`
fn own_cost(line: &str) -> Option<(u64, String)> {
    let (cost, rest) = line.trim().split_once(" (")?;
    let (_, place) = rest.split_once(')')?;
    let (_, name) = place.trim().split_once(':')?;
    let name = name.split(" [").next()?;
    Some((cost.replace(',', "").parse().ok()?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{own_cost, part};

    #[test]
    fn lines_of_functions_are_read() {
        let line = "1,234,567 ( 5.67%)  /src/exchange.rs:meshup::exchange::serve [/target/release/instructions]";
        assert_eq!(own_cost(line), Some((1_234_567, "meshup::exchange::serve".to_owned())));
        assert_eq!(own_cost("Events shown:     Ir"), None);
    }

    #[test]
    fn functions_belong_to_where_they_come_from() {
        let of = [
            ("<meshup::transport::Transport as tokio::io::async_read::AsyncRead>::poll_read", "meshup::transport"),
            ("meshup::exchange::serve::{closure#0}", "meshup::exchange"),
            ("<meshup::body::Body<B> as http_body::Body>::poll_frame", "meshup::body"),
            ("meshup_abi::writer::Writer::bytes", "meshup"),
            ("<h2::proto::streams::Streams<B, P>>::recv_headers", "h2"),
            ("http::header::map::HeaderMap<T>::try_append2", "http"),
            ("httparse::parse_headers_iter_uninit", "httparse"),
            ("__memcpy_avx_unaligned_erms", "memory"),
            ("_mi_malloc_generic", "memory"),
            ("0x0000000005387300", "guest"),
            ("clock_gettime@@GLIBC_2.17", "other"),
        ];
        for (function, from) in of {
            assert_eq!(part(function), from, "{function}");
        }
    }
}
