//! The Wasm modules that are measured and that no proxy brings: built from the crates beside this one.
//!
//! **Invariant:** flags of the build that this program comes from do not reach them.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

const TARGET: &str = "wasm32-unknown-unknown";

/// The filter of meshup that is measured, `benches/filter`: what it does, its configuration says.
///
/// # Errors
///
/// It cannot be built in `target_dir`.
pub fn meshup_filter(target_dir: &Path) -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mut script = Command::new("sh");
    script.current_dir(workspace).args(["scripts/test-filter", "meshup-bench-filter"]);
    // The bundled filters are built there: their dependencies are its own.
    script.arg(env::current_dir()?.join(target_dir).join("filters")).stdin(Stdio::null());
    let output = script.output().context("sh")?;
    ensure!(output.status.success(), "benches/filter: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

/// The filters of Envoy that are measured, `benches/proxy-wasm`.
///
/// # Errors
///
/// They cannot be built in `target_dir`.
pub fn envoy_filters(target_dir: &Path) -> Result<PathBuf> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target_dir = env::current_dir()?.join(target_dir).join("proxy-wasm");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(benches.join("proxy-wasm")).args(["build", "--quiet", "--release", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&target_dir).stdin(Stdio::null()).stdout(Stdio::null());
    forget_outer_cargo(&mut cargo);
    cargo.envs(wasm_environment(&benches.join("../scripts/wasm-target"))?);
    let status = cargo.status().context("cargo")?;
    ensure!(status.success(), "building it for {TARGET} failed: {status}");
    Ok(target_dir.join(TARGET).join("release/proxy_wasm_filters.wasm"))
}

/// Such as the profile that the proxy is optimised with.
fn forget_outer_cargo(cargo: &mut Command) {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_TERM_"];
    for (name, _) in env::vars() {
        let outer = name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept));
        if outer || name.starts_with("RUSTC") || name == "RUSTFLAGS" {
            cargo.env_remove(name);
        }
    }
}

/// Makes the target usable and returns the variables that it needs.
fn wasm_environment(script: &Path) -> Result<Vec<(String, String)>> {
    let output = Command::new("sh").arg(script).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "scripts/wasm-target failed: {}", output.status);
    let lines = String::from_utf8(output.stdout)?;
    let exports = lines.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    Ok(exports.map(|(name, value)| (name.into(), value.into())).collect())
}
