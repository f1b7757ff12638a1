//! Modules and instances: what a start, a reload and an exchange in an instance of its own pay for.
//!
//! **Invariant:** a module that is loaded is not loaded yet.

use std::hint::black_box;

use criterion::Criterion;
use meshup::{
    config::Isolation,
    wasm::{Runtime, RuntimeOptions},
};

use crate::guests;

const REWRITE: &str = r#"{"response_headers": {"set": {"x-served-by": "meshup"}}}"#;

pub(crate) fn run(criterion: &mut Criterion) {
    instances(criterion);
    loading(criterion);
}

/// An exchange enters a filter and leaves it: in a new instance, which is configured first, or in the worker's.
fn instances(criterion: &mut Criterion) {
    let runtime = guests::runtime();
    let rewrite = runtime.load(guests::builtin("rewrite")).expect("a bundled filter");
    for (name, isolation) in [("a new one", Isolation::Exchange), ("the worker's", Isolation::Worker)] {
        let filter = guests::filter(&runtime, rewrite.clone(), REWRITE, isolation);
        criterion.bench_function(&format!("instances/{name}"), |bencher| {
            bencher.iter(|| black_box(filter.enter()).expect("an instance"));
        });
    }
}

/// A module whose compiled code is on disk, and one that must be compiled.
fn loading(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache_dir = Some(folder.path().to_owned());
    let caching = Runtime::new(RuntimeOptions { cache_dir, ..RuntimeOptions::default() }).expect("a runtime");
    let mut group = criterion.benchmark_group("modules");
    group.sample_size(10);
    for (name, runtime) in [("from the cache", caching), ("compiled", guests::runtime())] {
        let wasm = guests::builtin("rewrite");
        drop(runtime.load(wasm).expect("a bundled filter"));
        group.bench_function(name, |bencher| bencher.iter(|| runtime.load(wasm).expect("a bundled filter")));
    }
}
