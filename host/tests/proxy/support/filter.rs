//! The filter in `tests/filter`, compiled to WebAssembly.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("filters");
    let mut script = Command::new("sh");
    script.current_dir(workspace).args(["scripts/test-filter", "meshup-test-filter"]).arg(&target);
    let output = script.env("CARGO", env!("CARGO")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "building the test filter: {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().into()
}
