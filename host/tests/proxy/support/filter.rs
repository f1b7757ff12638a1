//! The filter in `tests/filter`, compiled to WebAssembly.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where its module is. The first caller has cargo build it, beside the bundled filters: their dependencies are its own.
pub(crate) fn module() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(build)
}

/// A filter of a configuration that does `action`.
pub(crate) fn filter(name: &str, action: &str) -> String {
    format!("[filters.{name}]\nmodule = \"{}\"\nconfig = {{ do = {action}, note_end = true }}\n", module().display())
}

fn build() -> PathBuf {
    const SCRIPT: &str = r#"eval "$(scripts/wasm-target)" && exec "$0" build --quiet --lib --package meshup-test-filter \
        --target wasm32-unknown-unknown --profile filter --target-dir "$1""#;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("filters");
    let mut cargo = Command::new("sh");
    cargo.current_dir(workspace).args(["-c", SCRIPT, env!("CARGO")]).arg(&target);
    for outer in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(outer);
    }
    let status = cargo.status().unwrap();
    assert!(status.success(), "building the test filter: {status}");
    target.join("wasm32-unknown-unknown/filter/meshup_test_filter.wasm")
}
