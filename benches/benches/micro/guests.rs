//! Filters to measure: bundled ones and `benches/filter`, each in an instance of its own kind.
//!
//! **Invariant:** a filter that cannot be had ends the run: there is nothing to measure then.

use std::{path::Path, process::Command, rc::Rc, sync::Arc};

use meshup::{
    config::{FilterLimits, Isolation, OnError},
    wasm::{Filter, FilterSpec, Module, Runtime, RuntimeOptions, WorkerFilter},
};

pub(crate) fn runtime() -> Arc<Runtime> {
    Runtime::new(RuntimeOptions::default()).expect("a runtime")
}

/// The code of a bundled filter.
pub(crate) fn builtin(name: &str) -> &'static [u8] {
    meshup_filters::builtin(name).expect("a bundled filter")
}

/// The code of `benches/filter`; cargo builds it, beside the bundled filters: their dependencies are its own.
pub(crate) fn verdicts() -> Vec<u8> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("filters");
    let mut script = Command::new("sh");
    script.current_dir(workspace).args(["scripts/test-filter", "meshup-bench-filter"]).arg(&target);
    let output = script.output().expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = String::from_utf8(output.stdout).expect("a path");
    std::fs::read(file.trim()).expect("the module")
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
