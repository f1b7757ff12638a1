//! The result as text: a table per scenario, a line per proxy, medians over the rounds.
//!
//! **Invariant:** the ratio compares a proxy with nginx in the same round, never across rounds.

use std::{fmt, time::Duration};

use meshup_benches::stats::median;

use crate::measure::millis;

/// What every other proxy is compared with.
const REFERENCE: &str = "nginx";

/// One turn of one proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) cpu_per_request: Duration,
    pub(crate) requests_per_second: f64,
    /// The time that half, 99 % and 99.9 % of the requests took at most.
    pub(crate) latency: [Duration; 3],
    /// By how much the 99 % are later than without a proxy, at the same rate; less than 0 where they were earlier.
    pub(crate) added_millis: Option<f64>,
    pub(crate) resident_bytes: u64,
}

/// All turns of one scenario; prints as text.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// All turns of one proxy.
pub(crate) struct Row {
    pub(crate) name: String,
    /// One per round; `None` where the turn failed.
    samples: Vec<Option<Sample>>,
    /// Why turns failed, each on one line.
    failures: Vec<String>,
}

impl Table {
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &str, sample: Sample) {
        self.row(name).samples.push(Some(sample));
    }

    pub(crate) fn fail(&mut self, name: &str, why: &str) {
        let row = self.row(name);
        row.samples.push(None);
        row.failures.push(on_one_line(why));
    }

    fn row(&mut self, name: &str) -> &mut Row {
        let position = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.into(), samples: Vec::new(), failures: Vec::new() });
            self.rows.len() - 1
        });
        &mut self.rows[position]
    }

    fn reference(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == REFERENCE)
    }

    /// A row's CPU time beside that of nginx.
    pub(crate) fn ratio(&self, row: &Row) -> Option<f64> {
        let rounds = row.samples.iter().zip(&self.reference()?.samples);
        median(rounds.filter_map(|(own, other)| Some((*own)?.micros() / (*other)?.micros())))
    }
}

impl Row {
    /// Whether it is meshup's.
    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("meshup")
    }

    /// CPU time per request, microseconds.
    pub(crate) fn micros(&self) -> Option<f64> {
        self.median(Sample::micros)
    }

    fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.iter().flatten().map(figure))
    }

    fn range(&self) -> Option<(f64, f64)> {
        let micros = || self.samples.iter().flatten().map(Sample::micros);
        Some((micros().reduce(f64::min)?, micros().reduce(f64::max)?))
    }
}

impl Sample {
    fn micros(&self) -> f64 {
        self.cpu_per_request.as_secs_f64() * 1e6
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n### {}\n", self.title)?;
        line(out, "", &HEAD.map(str::to_owned))?;
        line(out, &"-".repeat(NAME_WIDTH), &WIDTHS.map(|width| format!("{}:", "-".repeat(width - 1))))?;
        for row in &self.rows {
            let failed = || HEAD.map(|column| if column == HEAD[0] { "failed".into() } else { "-".into() });
            line(out, &row.name, &self.cells(row).unwrap_or_else(failed))?;
        }
        self.rows.iter().try_for_each(|row| failures(out, row))
    }
}

/// How many turns failed, and why the first of them.
fn failures(out: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let Some(first) = row.failures.first() else { return Ok(()) };
    writeln!(out, "\n{}: {} of {} rounds failed: {first}", row.name, row.failures.len(), row.samples.len())
}

/// What a program said may have many lines, and be long.
fn on_one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_FAILURE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Characters.
const LONGEST_FAILURE: usize = 200;

const NAME_WIDTH: usize = 26;
const HEAD: [&str; 9] =
    ["CPU µs", "least .. most", "x nginx", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "p99 added", "MiB"];
const WIDTHS: [usize; 9] = [8, 18, 8, 10, 8, 8, 8, 9, 5];

impl Table {
    fn cells(&self, row: &Row) -> Option<[String; 9]> {
        let (least, most) = row.range()?;
        let millis = |index: usize| row.median(|sample| millis(sample.latency[index]));
        let added = median(row.samples.iter().flatten().filter_map(|sample| sample.added_millis));
        Some([
            format!("{:.1}", row.micros()?),
            format!("{least:.1} .. {most:.1}"),
            self.ratio(row).map_or("-".into(), |ratio| format!("{ratio:.2}")),
            format!("{:.0}", row.median(|sample| sample.requests_per_second)?),
            format!("{:.2}", millis(0)?),
            format!("{:.2}", millis(1)?),
            format!("{:.2}", millis(2)?),
            added.map_or("-".into(), |added| format!("{added:+.2}")),
            format!("{:.0}", row.median(|sample| sample.resident_bytes as f64)? / 1024.0 / 1024.0),
        ])
    }
}

fn line(out: &mut fmt::Formatter<'_>, name: &str, cells: &[String; 9]) -> fmt::Result {
    write!(out, "| {name:<NAME_WIDTH$} |")?;
    for (cell, width) in cells.iter().zip(WIDTHS) {
        write!(out, " {cell:>width$} |")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::{Sample, Table};
    use std::time::Duration;

    fn sample(micros: u64) -> Sample {
        Sample {
            cpu_per_request: Duration::from_micros(micros),
            requests_per_second: 1.0,
            latency: [Duration::ZERO; 3],
            added_millis: None,
            resident_bytes: 0,
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut table = Table::new("a title");
        for (nginx, other) in [(10, 20), (100, 200)] {
            table.add("nginx", sample(nginx));
            table.add("other", sample(other));
        }
        assert_eq!(table.ratio(&table.rows[1]), Some(2.0));
    }

    #[test]
    fn a_turn_that_fails_says_why_below_the_table() {
        let mut table = Table::new("a title");
        table.add("nginx", sample(10));
        table.fail("nginx", "it ended at once:\n  no such user\n");
        let text = table.to_string();
        assert!(text.ends_with("|\n\nnginx: 1 of 2 rounds failed: it ended at once: no such user\n"), "{text}");
    }

    #[test]
    fn a_proxy_that_never_served_has_a_whole_row() {
        let mut table = Table::new("a title");
        table.fail("nginx", &"x".repeat(1000));
        let text = table.to_string();
        let columns = text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count());
        assert_eq!(columns.collect::<Vec<_>>(), [11, 11, 11], "{text}");
        assert!(text.lines().all(|line| line.len() < 300), "{text}");
    }
}
