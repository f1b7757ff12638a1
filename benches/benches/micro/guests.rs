//! Filters to measure: bundled ones and `benches/filter`, each in an instance of its own kind.
//!
//! **Invariant:** a filter that cannot be had ends the run: there is nothing to measure then.

use std::{path::Path, rc::Rc, sync::Arc};

use meshup::{
    config::{FilterLimits, Isolation, OnError},
    wasm::{Filter, FilterSpec, Module, Runtime, RuntimeOptions, WorkerFilter},
};
use meshup_benches::modules;

pub(crate) fn runtime() -> Arc<Runtime> {
    Runtime::new(RuntimeOptions::default()).expect("a runtime")
}

/// The code of a bundled filter.
pub(crate) fn builtin(name: &str) -> &'static [u8] {
    meshup_filters::builtin(name).expect("a bundled filter")
}

/// The code of `benches/filter`.
pub(crate) fn verdicts() -> Vec<u8> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target folder");
    let file = modules::meshup_filter(target).expect("the filter");
    std::fs::read(file).expect("the module")
}

/// A filter of a worker.
pub(crate) fn filter(
    runtime: &Arc<Runtime>,
    module: Arc<Module>,
    config: &str,
    isolation: Isolation,
) -> Rc<WorkerFilter> {
    let limits = FilterLimits { memory_bytes: 16 << 20, cpu_per_call: std::time::Duration::from_millis(10) };
    let spec = FilterSpec {
        name: "bench".into(),
        module,
        on_error: OnError::Deny,
        isolation,
        limits,
        config: config.into(),
        log_lines_per_second: FilterSpec::LOG_LINES_PER_SECOND,
    };
    WorkerFilter::new(Filter::new(runtime, spec).expect("a filter"))
}
