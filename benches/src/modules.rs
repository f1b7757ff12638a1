//! The Wasm modules that are measured and that no proxy brings: built from the crates beside this one.
//!
//! **Invariant:** flags of the build that this program comes from do not reach them.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The filter of meshup that is measured, `benches/filter`: what it does, its configuration says.
///
/// # Errors
///
/// It cannot be built in `target_dir`.
pub fn meshup_filter(target_dir: &Path) -> Result<PathBuf> {
    // The bundled filters are built there: their dependencies are its own.
    build("meshup-bench-filter", ".", &target_dir.join("filters"))
}

/// The filters of Envoy that are measured, `benches/proxy-wasm`.
///
/// # Errors
///
/// They cannot be built in `target_dir`.
pub fn envoy_filters(target_dir: &Path) -> Result<PathBuf> {
    build("proxy-wasm-filters", "benches/proxy-wasm", &target_dir.join("proxy-wasm"))
}

fn build(package: &str, folder: &str, target_dir: &Path) -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mut script = Command::new("sh");
    script.current_dir(workspace).args(["scripts/test-filter", package]);
    script.arg(env::current_dir()?.join(target_dir)).arg(folder).stdin(Stdio::null());
    let output = script.output().context("sh")?;
    ensure!(output.status.success(), "{package}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
