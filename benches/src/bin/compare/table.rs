//! The result: a line per proxy, medians over the rounds.
//!
//! **Invariant:** the ratio compares a proxy with nginx in the same round, never across rounds.

use std::{fmt, time::Duration};

/// What every other proxy is compared with.
const REFERENCE: &str = "nginx";

/// One turn of one proxy.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) cpu_per_request: Duration,
    pub(crate) requests_per_second: f64,
}

/// All turns; prints as text.
pub(crate) struct Table {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    /// One per round; `None` where the turn failed.
    samples: Vec<Option<Sample>>,
    failure: Option<String>,
}

impl Table {
    pub(crate) fn new(names: impl Iterator<Item = &'static str>) -> Self {
        Self { rows: names.map(|name| Row { name, samples: Vec::new(), failure: None }).collect() }
    }

    pub(crate) fn add(&mut self, name: &str, sample: Sample) {
        if let Some(row) = self.row(name) {
            row.samples.push(Some(sample));
        }
    }

    pub(crate) fn fail(&mut self, name: &str, why: String) {
        eprintln!("{name}: {why}");
        if let Some(row) = self.row(name) {
            row.samples.push(None);
            row.failure = Some(why);
        }
    }

    fn row(&mut self, name: &str) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.name == name)
    }

    fn reference(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == REFERENCE)
    }
}

impl Row {
    fn micros(&self) -> Vec<f64> {
        self.samples.iter().flatten().map(Sample::micros).collect()
    }

    fn ratios(&self, reference: &Self) -> Vec<f64> {
        let rounds = self.samples.iter().zip(&reference.samples);
        rounds.filter_map(|(own, other)| Some((*own)?.micros() / (*other)?.micros())).collect()
    }
}

impl Sample {
    fn micros(&self) -> f64 {
        self.cpu_per_request.as_secs_f64() * 1e6
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\nCPU time of the proxy per request, in microseconds; medians over the rounds")?;
        writeln!(out, "{:<24} {:>8} {:>15} {:>10} {:>12}", "", "median", "min .. max", "x nginx", "requests/s")?;
        for row in &self.rows {
            self.line(row, out)?;
        }
        Ok(())
    }
}

impl Table {
    fn line(&self, row: &Row, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = sorted(row.micros());
        let (Some(least), Some(most), Some(middle)) = (micros.first(), micros.last(), median(&micros)) else {
            let why = row.failure.as_deref().unwrap_or("no rounds");
            return writeln!(out, "{:<24} failed: {}", row.name, why.lines().next().unwrap_or(why));
        };
        let ratio = self.reference().and_then(|reference| median(&sorted(row.ratios(reference))));
        let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let rates = sorted(row.samples.iter().flatten().map(|sample| sample.requests_per_second).collect());
        let range = format!("{least:.1} .. {most:.1}");
        let rate = median(&rates).unwrap_or_default();
        writeln!(out, "{:<24} {middle:>8.1} {range:>15} {ratio:>10} {rate:>12.0}", row.name)
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => Some(sorted[middle]),
        _ => middle.checked_sub(1).map(|before| f64::midpoint(sorted[before], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::{Sample, Table, median};
    use std::time::Duration;

    fn sample(micros: u64) -> Sample {
        Sample { cpu_per_request: Duration::from_micros(micros), requests_per_second: 1.0 }
    }

    #[test]
    fn medians_of_none_one_two_and_three() {
        for (values, expected) in
            [(&[][..], None), (&[1.0], Some(1.0)), (&[1.0, 3.0], Some(2.0)), (&[1.0, 2.0, 9.0], Some(2.0))]
        {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut table = Table::new(["nginx", "other"].into_iter());
        for (nginx, other) in [(10, 20), (100, 200)] {
            table.add("nginx", sample(nginx));
            table.add("other", sample(other));
        }
        assert!(table.to_string().lines().last().unwrap().contains(" 2.00 "), "{table}");
    }
}
