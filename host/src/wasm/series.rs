//! The metric series that filters register, and the caps on them.
//!
//! Names are taken as given; every series has the label `filter`, so filters cannot take each other's. A series lives
//! as long as the process, over reloads, because the registry never forgets one: hence the cap per filter.
//!
//! **Invariant:** one name has one kind in the whole process.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use meshup_abi::{Fields, MetricKind, MetricOp, tag};
use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

/// The most series of one filter.
const MAX_SERIES: usize = 1000;
const MAX_LABELS: usize = 16;
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 512;
/// A message with all of that; what is longer is padded, and would be kept for ever.
const MAX_MESSAGE: usize = 16 << 10;

/// Names that a filter must not use: the host's metrics, and labels with a meaning of their own.
const RESERVED_PREFIX: &str = "meshup_";
const RESERVED_LABELS: [&str; 3] = ["filter", "le", "quantile"];

/// Where values of one series go.
#[derive(Clone)]
pub(super) enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// Why a series was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeriesError {
    /// A name, label or kind is not allowed.
    Invalid,
    /// The filter has [`MAX_SERIES`].
    Quota,
}

/// The series of every filter there has been.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    filters: Mutex<HashMap<Arc<str>, Arc<FilterSeries>>>,
    kinds: Arc<Mutex<HashMap<String, MetricKind>>>,
}

impl SeriesTable {
    /// The series of the filter of that name, the same over reloads.
    pub(super) fn of(&self, filter: &Arc<str>) -> Arc<FilterSeries> {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let series = filters.entry(Arc::clone(filter)).or_insert_with(|| {
            Arc::new(FilterSeries {
                filter: Arc::clone(filter),
                kinds: Arc::clone(&self.kinds),
                known: Mutex::default(),
                quota_told: AtomicBool::new(false),
            })
        });
        Arc::clone(series)
    }
}

/// The series of one filter.
pub(super) struct FilterSeries {
    filter: Arc<str>,
    kinds: Arc<Mutex<HashMap<String, MetricKind>>>,
    known: Mutex<HashMap<Box<[u8]>, Series>>,
    quota_told: AtomicBool,
}

impl std::fmt::Debug for FilterSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterSeries").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl FilterSeries {
    /// The series a `metric_series` message describes.
    fn register(&self, kind: MetricKind, message: &[u8]) -> Result<Series, SeriesError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(message).filter(|series| series.kind() == kind) {
            return Ok(series.clone());
        }
        let (name, labels) = parse(message, &self.filter).ok_or(SeriesError::Invalid)?;
        if known.len() >= MAX_SERIES {
            self.tell_quota(&name);
            return Err(SeriesError::Quota);
        }
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if *kinds.entry(name.clone()).or_insert(kind) != kind {
            return Err(SeriesError::Invalid);
        }
        let series = Series::new(kind, name, labels);
        known.insert(message.into(), series.clone());
        Ok(series)
    }

    fn tell_quota(&self, name: &str) {
        if !self.quota_told.swap(true, Relaxed) {
            tracing::warn!(filter = &*self.filter, metric = name, "limit of {MAX_SERIES} metric series reached");
        }
    }
}

impl Series {
    fn new(kind: MetricKind, name: String, labels: Vec<Label>) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter(counter!(name, labels)),
            MetricKind::Gauge => Self::Gauge(gauge!(name, labels)),
            MetricKind::Histogram => Self::Histogram(histogram!(name, labels)),
        }
    }

    fn kind(&self) -> MetricKind {
        match self {
            Self::Counter(_) => MetricKind::Counter,
            Self::Gauge(_) => MetricKind::Gauge,
            Self::Histogram(_) => MetricKind::Histogram,
        }
    }

    /// Records a value; false when the series does not take it.
    pub(super) fn record(&self, op: MetricOp, value: f64) -> bool {
        match (self, op) {
            (Self::Counter(counter), MetricOp::Add) if is_count(value) => counter.increment(value as u64),
            (Self::Gauge(gauge), MetricOp::Add) if value.is_finite() => gauge.increment(value),
            (Self::Gauge(gauge), MetricOp::Set) if !value.is_nan() => gauge.set(value),
            (Self::Histogram(histogram), MetricOp::Record) if value.is_finite() => histogram.record(value),
            _ => return false,
        }
        true
    }
}

/// The handles one instance has asked for.
#[derive(Default)]
pub(super) struct SeriesHandles {
    series: Vec<Series>,
    handles: HashMap<(MetricKind, Box<[u8]>), i32>,
}

impl std::fmt::Debug for SeriesHandles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesHandles").field("len", &self.series.len()).finish()
    }
}

impl SeriesHandles {
    /// The handle of the series a message describes, the same each time.
    pub(super) fn handle(&mut self, all: &FilterSeries, kind: MetricKind, message: &[u8]) -> Result<i32, SeriesError> {
        if message.len() > MAX_MESSAGE {
            return Err(SeriesError::Invalid);
        }
        let key = (kind, message.into());
        if let Some(handle) = self.handles.get(&key) {
            return Ok(*handle);
        }
        let series = all.register(kind, message)?;
        let handle = i32::try_from(self.series.len()).map_err(|_| SeriesError::Quota)?;
        self.series.push(series);
        self.handles.insert(key, handle);
        Ok(handle)
    }

    /// The series of a handle.
    pub(super) fn get(&self, handle: i32) -> Option<&Series> {
        usize::try_from(handle).ok().and_then(|index| self.series.get(index))
    }
}

/// A whole number of 0 or more that `f64` holds exactly.
fn is_count(value: f64) -> bool {
    (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0
}

fn parse(message: &[u8], filter: &str) -> Option<(String, Vec<Label>)> {
    let mut name = None;
    let mut labels = vec![Label::new("filter", filter.to_owned())];
    for field in Fields::new(message) {
        let field = field.ok()?;
        match field.tag {
            tag::NAME => name = Some(field.text().ok().filter(|name| is_metric_name(name))?.to_owned()),
            tag::LABEL => labels.push(label(field.pair().ok()?, &labels)?),
            _ => {}
        }
    }
    name.map(|name| (name, labels))
}

fn label((name, value): (&[u8], &[u8]), others: &[Label]) -> Option<Label> {
    let (name, value) = (std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?);
    let allowed = is_name(name) && !name.starts_with("__") && !RESERVED_LABELS.contains(&name);
    let fresh = others.len() <= MAX_LABELS && others.iter().all(|other| other.key() != name);
    (allowed && fresh && value.len() <= MAX_VALUE).then(|| Label::new(name.to_owned(), value.to_owned()))
}

fn is_metric_name(name: &str) -> bool {
    is_name(name) && !name.starts_with(RESERVED_PREFIX)
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use meshup_abi::Writer;

    use super::*;

    fn message(name: &str, labels: &[(&str, &str)]) -> Vec<u8> {
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message);
        writer.bytes(tag::NAME, name.as_bytes()).unwrap();
        labels.iter().for_each(|(name, value)| writer.pair(tag::LABEL, name.as_bytes(), value.as_bytes()).unwrap());
        message
    }

    fn register(series: &FilterSeries, name: &str, labels: &[(&str, &str)]) -> Option<SeriesError> {
        series.register(MetricKind::Counter, &message(name, labels)).err()
    }

    #[test]
    fn names_and_labels_are_checked() {
        let series = SeriesTable::default().of(&"auth".into());
        for name in ["", "1a", "a-b", "a b", "meshup_requests_total", "é"] {
            assert_eq!(register(&series, name, &[]), Some(SeriesError::Invalid), "{name:?}");
        }
        for labels in [&[("filter", "x")][..], &[("le", "1")], &[("__a", "1")], &[("a", "1"), ("a", "2")], &[("", "")]]
        {
            assert_eq!(register(&series, "ok", labels), Some(SeriesError::Invalid), "{labels:?}");
        }
        assert_eq!(register(&series, "ok", &[("code", "any value at all")]), None);
        assert_eq!(series.register(MetricKind::Gauge, &message("ok", &[])).err(), Some(SeriesError::Invalid));
        assert_eq!(series.register(MetricKind::Counter, b"rubbish").err(), Some(SeriesError::Invalid));
    }

    #[test]
    fn a_filter_has_so_many_series_over_all_its_instances() {
        let table = SeriesTable::default();
        for n in 0..MAX_SERIES {
            assert_eq!(register(&table.of(&"auth".into()), "ok", &[("n", &n.to_string())]), None);
        }
        assert_eq!(register(&table.of(&"auth".into()), "ok", &[("n", "more")]), Some(SeriesError::Quota));
        assert_eq!(register(&table.of(&"auth".into()), "ok", &[("n", "0")]), None);
        assert_eq!(register(&table.of(&"other".into()), "ok", &[("n", "more")]), None);
    }

    #[test]
    fn handles_are_stable_and_values_checked() {
        let all = SeriesTable::default().of(&"auth".into());
        let mut handles = SeriesHandles::default();
        let first = handles.handle(&all, MetricKind::Counter, &message("a", &[])).unwrap();
        let second = handles.handle(&all, MetricKind::Gauge, &message("b", &[])).unwrap();
        assert_eq!(handles.handle(&all, MetricKind::Counter, &message("a", &[])), Ok(first));
        assert_ne!(first, second);
        let counter = handles.get(first).unwrap();
        assert!(counter.record(MetricOp::Add, 3.0));
        for value in [-1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert!(!counter.record(MetricOp::Add, value));
        }
        assert!(!counter.record(MetricOp::Set, 1.0));
        assert!(handles.get(second).unwrap().record(MetricOp::Add, -1.5));
        assert!(handles.get(-1).is_none() && handles.get(2).is_none());
    }
}
