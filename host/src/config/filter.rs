//! `[filters.NAME]`: everything but what only the filter itself can judge, its `config`.
//!
//! **Invariant:** a filter's `config` is a JSON object.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Filter, FilterLimits, FilterLocation, Isolation, ModuleSource, OnError, json, keys,
    raw::{Fault, Table, Value},
    value::{beside, check_name, duration_within, one_of, size_in_memory, size_text},
};

/// The unit of linear memory.
const WASM_PAGE: u64 = 64 * 1024;
/// All that 32 bits can address.
const MAX_MEMORY: u64 = 4 << 30;
const MAX_CPU: Duration = Duration::from_secs(10);
const WIDEST: FilterLimits = FilterLimits { memory_bytes: MAX_MEMORY as usize, cpu_per_call: MAX_CPU };

type Filters = BTreeMap<Arc<str>, Filter>;
type Locations = BTreeMap<Arc<str>, FilterLocation>;

/// `[filters]`; what has a fault that its module or itself would trip over is left out.
pub(super) fn filters(root: &Table<'_>) -> (Filters, Locations) {
    let (mut filters, mut locations) = (Filters::new(), Locations::new());
    for (key, value) in
        root.get("filters").and_then(|value| value.open()).map(|table| table.entries()).unwrap_or_default()
    {
        let faults_before = value.source().faults();
        check_name(key.name).unwrap_or_else(|fault| key.report(fault));
        let Some(table) = value.table(&keys::FILTER) else { continue };
        let has_keys = value.source().faults() == faults_before;
        if let Some(filter) = filter(&table).filter(|_| has_keys) {
            let name: Arc<str> = key.name.into();
            locations.insert(Arc::clone(&name), location(&table));
            filters.insert(name, filter);
        }
    }
    (filters, locations)
}

fn location(table: &Table<'_>) -> FilterLocation {
    let module = table.get("module").map_or_else(|| table.key_location("module"), |value| value.location());
    FilterLocation { module, config: table.key_location("config") }
}

/// None where `module` or `config` has a fault. One elsewhere does not keep the filter from being tried.
fn filter(table: &Table<'_>) -> Option<Filter> {
    let on_error =
        table.read("on_error", |value| one_of(value, &[("deny", OnError::Deny), ("bypass", OnError::Bypass)]));
    let isolation = table
        .read("isolation", |value| one_of(value, &[("worker", Isolation::Worker), ("exchange", Isolation::Exchange)]));
    let limits = limits(table);
    let config = table.get("config").map_or_else(|| Some("{}".into()), |value| config(&value));
    let module = table.required("module").and_then(|value| value.read(module));
    Some(Filter {
        module: module?,
        on_error: on_error.unwrap_or(OnError::Deny),
        isolation: isolation.unwrap_or(Isolation::Worker),
        limits,
        config: config?,
    })
}

fn module(value: &Value<'_>) -> Result<ModuleSource, Fault> {
    let text = value.text("a string: `\"builtin:NAME\"` or the path of a .wasm file")?;
    match text.strip_prefix("builtin:") {
        Some(name) => check_name(name).map(|()| ModuleSource::Builtin(name.into())),
        None if text.is_empty() || text.contains('\0') => {
            Err(Fault::new("not a path").help("`\"builtin:NAME\"` or the path of a .wasm file"))
        }
        None => Ok(ModuleSource::File(beside(value, text))),
    }
}

fn config(value: &Value<'_>) -> Option<Arc<str>> {
    let faults_before = value.source().faults();
    value.read(|value| value.inner().as_table().ok_or_else(|| value.expected("a table")).map(drop))?;
    let json = json::compact(value);
    (value.source().faults() == faults_before).then(|| json.into())
}

/// Where they have a fault, the widest: what the filter is meant to have is not known, but it may be tried.
fn limits(filter: &Table<'_>) -> FilterLimits {
    let default = FilterLimits::default();
    let Some(value) = filter.get("limits") else { return default };
    let faults_before = value.source().faults();
    let Some(table) = value.table(&keys::FILTER_LIMITS) else { return WIDEST };
    let cpu = |value: &Value<'_>| duration_within(value, Duration::from_millis(1)..=MAX_CPU);
    let limits = FilterLimits {
        memory_bytes: table.read("memory", memory).unwrap_or(default.memory_bytes),
        cpu_per_call: table.read("cpu_per_call", cpu).unwrap_or(default.cpu_per_call),
    };
    if value.source().faults() == faults_before { limits } else { WIDEST }
}

fn memory(value: &Value<'_>) -> Result<usize, Fault> {
    let bytes = size_in_memory(value, WASM_PAGE..=MAX_MEMORY)?;
    if !(bytes as u64).is_multiple_of(WASM_PAGE) {
        let next = (bytes as u64).next_multiple_of(WASM_PAGE);
        let help = format!("the next larger one is `\"{}\"`", size_text(next));
        return Err(Fault::new(format!("`{}` is not a multiple of 64KiB", size_text(bytes as u64))).help(help));
    }
    Ok(bytes)
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self { memory_bytes: 16 << 20, cpu_per_call: Duration::from_millis(10) }
    }
}
