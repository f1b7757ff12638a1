//! Histograms of fixed buckets. A sample is added up at once: the exporter's own histograms keep each with the time until
//! the next scrape, which costs a look at the clock, a second pass, and memory by the rate of requests.
//!
//! Each thread has a shard to itself, as far as there are shards.
//!
//! **Invariant:** the count that is rendered is the sum of the buckets that are rendered.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use metrics::{Histogram, HistogramFn, Key, SharedString};
use metrics_exporter_prometheus::formatting::{
    sanitize_label_key, sanitize_label_value, sanitize_metric_name, write_help_line, write_type_line,
};

/// Upper bounds of request durations, seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds of the time in a filter, seconds.
const FILTER_SECONDS: &[f64] =
    &[2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1];
/// Upper bounds of sizes, bytes.
const BYTES: &[f64] = &[128.0, 512.0, 2048.0, 8192.0, 32768.0, 131_072.0, 1_048_576.0, 8_388_608.0, 67_108_864.0, 1e9];
/// Upper bounds of what filters record, without a unit that we know.
const ANY: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 1e3, 1e4, 1e5, 1e6,
];

/// Buckets of a histogram at most, that without an upper bound included.
const MAX_BUCKETS: usize = ANY.len() + 1;
/// More threads than that share.
const SHARDS: usize = 16;

/// The process's histograms.
#[derive(Default)]
pub(super) struct Histograms {
    series: Mutex<HashMap<Key, Arc<Buckets>>>,
    descriptions: Mutex<HashMap<String, SharedString>>,
}

/// The samples of one series.
struct Buckets {
    bounds: &'static [f64],
    shards: [OnceLock<Box<Shard>>; SHARDS],
}

/// What one thread counted; on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    /// The bits of an `f64`.
    sum: AtomicU64,
    /// By bucket, not cumulative.
    counts: [AtomicU64; MAX_BUCKETS],
}

fn bounds(name: &str) -> &'static [f64] {
    match name {
        "meshup_filter_duration_seconds" => FILTER_SECONDS,
        _ if name.ends_with("_seconds") => SECONDS,
        _ if name.ends_with("_bytes") => BYTES,
        _ => ANY,
    }
}

/// The shard of the current thread.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let Some(shard) = self.shards.get(shard()).map(|shard| shard.get_or_init(Box::default)) else { return };
        if let Some(count) = shard.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
            let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
            _ = shard.sum.fetch_update(Relaxed, Relaxed, add);
        }
    }
}

impl Histograms {
    pub(super) fn describe(&self, name: &str, description: SharedString) {
        let mut descriptions = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        descriptions.insert(name.to_owned(), description);
    }

    /// The histogram with that name and those labels, made at the first call.
    pub(super) fn register(&self, key: &Key) -> Histogram {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = series.entry(key.clone()).or_insert_with(|| Arc::new(Buckets::new(bounds(key.name()))));
        Histogram::from_arc(buckets.clone())
    }

    /// All of them in Prometheus's text format.
    pub(super) fn render(&self, out: &mut String) {
        let mut families: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (key, buckets) in &*self.series.lock().unwrap_or_else(PoisonError::into_inner) {
            families.entry(sanitize_metric_name(key.name())).or_default().insert(labels(key), buckets.clone());
        }
        let descriptions = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, series) in families {
            if let Some(description) = descriptions.get(&name) {
                write_help_line(out, &name, None, None, description);
            }
            write_type_line(out, &name, None, None, "histogram");
            series.iter().for_each(|(labels, buckets)| buckets.render(&name, labels, out));
            out.push('\n');
        }
    }
}

fn labels(key: &Key) -> String {
    let labels = key.labels().map(|label| (sanitize_label_key(label.key()), sanitize_label_value(label.value())));
    labels.map(|(key, value)| format!("{key}=\"{value}\"")).collect::<Vec<_>>().join(",")
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, shards: Default::default() }
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let shards: Vec<_> = self.shards.iter().filter_map(OnceLock::get).collect();
        let recorded = |bucket: usize| -> u64 {
            shards.iter().filter_map(|shard| shard.counts.get(bucket)).map(|count| count.load(Relaxed)).sum()
        };
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        // Writing to a String does not fail.
        for (bucket, bound) in self.bounds.iter().enumerate() {
            count += recorded(bucket);
            _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        count += recorded(self.bounds.len());
        let sum: f64 = shards.iter().map(|shard| f64::from_bits(shard.sum.load(Relaxed))).sum();
        let labelled = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        _ = write!(
            out,
            "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n{name}_sum{labelled} {sum}\n{name}_count{labelled} {count}\n"
        );
    }
}

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    fn rendered(histograms: &Histograms) -> String {
        let mut out = String::new();
        histograms.render(&mut out);
        out
    }

    #[test]
    fn samples_of_all_threads_are_in_the_buckets_that_end_at_or_above_them() {
        let histograms = Histograms::default();
        histograms.describe("x_bytes", "Sizes".into());
        let labels = vec![Label::new("route", "a\"b"), Label::new("method", "GET")];
        let key = Key::from_parts("x_bytes", labels);
        let record = |value| histograms.register(&key).record(value);
        std::thread::scope(|scope| {
            for value in [0.0, 128.0, 128.5, 2e9, -1.0] {
                scope.spawn(move || record(value));
            }
        });
        let out = rendered(&histograms);
        let series = "route=\"a\\\"b\",method=\"GET\"";
        for line in [
            "# HELP x_bytes Sizes".to_owned(),
            "# TYPE x_bytes histogram".to_owned(),
            format!("x_bytes_bucket{{{series},le=\"128\"}} 3"),
            format!("x_bytes_bucket{{{series},le=\"512\"}} 4"),
            format!("x_bytes_bucket{{{series},le=\"1000000000\"}} 4"),
            format!("x_bytes_bucket{{{series},le=\"+Inf\"}} 5"),
            format!("x_bytes_sum{{{series}}} 2000000255.5"),
            format!("x_bytes_count{{{series}}} 5"),
        ] {
            assert!(out.lines().any(|rendered| rendered == line), "{line} in {out}");
        }
    }

    #[test]
    fn a_name_without_labels_has_no_braces_and_each_unit_its_buckets() {
        let histograms = Histograms::default();
        let key = Key::from_name("plain");
        histograms.register(&key).record(7.0);
        histograms.register(&key).record(7.0);
        let out = rendered(&histograms);
        assert!(
            out.contains("\nplain_sum 14\nplain_count 2\n") && out.contains("plain_bucket{le=\"10\"} 2\n"),
            "{out}"
        );
        assert_eq!(bounds("a_seconds").last(), Some(&60.0));
        assert!(bounds("meshup_filter_duration_seconds").first().is_some_and(|bound| *bound < 1e-6));
        assert!(
            [SECONDS, FILTER_SECONDS, BYTES, ANY].iter().all(|bounds| bounds.len() < MAX_BUCKETS && bounds.is_sorted())
        );
    }
}
