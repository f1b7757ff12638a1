//! Reading callgrind's result.

use std::{collections::HashMap, fmt::Write as _, path::Path, process::Command};

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
    let output = Command::new("callgrind_annotate").args(["--threshold=100", "--auto=no"]).arg(profile).output()?;
    ensure!(output.status.success(), "callgrind_annotate: {}", String::from_utf8_lossy(&output.stderr));
    let mut costs: HashMap<String, u64> = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((cost, name)) = own_cost(line) else { continue };
        *costs.entry(name).or_default() += cost;
    }
    let mut costs: Vec<_> = costs.into_iter().collect();
    costs.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
    let mut table = String::new();
    for (name, cost) in costs.iter().take(count) {
        writeln!(table, "{:>8}  {name}", cost / requests)?;
    }
    Ok(table)
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
    use super::own_cost;

    #[test]
    fn lines_of_functions_are_read() {
        let line = "1,234,567 ( 5.67%)  /src/exchange.rs:meshup::exchange::serve [/target/release/instructions]";
        assert_eq!(own_cost(line), Some((1_234_567, "meshup::exchange::serve".to_owned())));
        assert_eq!(own_cost("Events shown:     Ir"), None);
    }
}
