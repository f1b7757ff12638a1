//! Builds the filter crates beside this one for wasm32-unknown-unknown, in the profile `filter`, and writes the table
//! that `src/lib.rs` includes.
//!
//! The inner cargo works in a target folder of its own: the outer one holds the lock of its folder while this script
//! runs. That folder is shared by all outer profiles, so the filters are compiled once for dev, release and clippy.
//! How the target comes to this machine, only `scripts/wasm-target` knows.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "filter";

/// What a filter is made of besides its own crate, relative to the workspace.
const SHARED_SOURCES: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "scripts/wasm-target",
    "sdk/Cargo.toml",
    "sdk/src",
    "sdk/abi/Cargo.toml",
    "sdk/abi/src",
    "sdk/macros/Cargo.toml",
    "sdk/macros/src",
];

fn main() -> Result<()> {
    let filters = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = filters.parent().ok_or("the filters are not inside a workspace")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let names = filter_names(&filters)?;
    watch(workspace, &filters, &names);

    let target_dir = target_dir(&out).join("filters");
    build(workspace, &target_dir, &names)?;
    let built = target_dir.join(TARGET).join(PROFILE);
    for name in &names {
        let file = built.join(format!("{}.wasm", package(name).replace('-', "_")));
        fs::copy(&file, out.join(format!("{name}.wasm"))).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    fs::write(out.join("modules.rs"), table(&names))?;
    Ok(())
}

/// The folders with a crate in them; a folder's name is the filter's.
fn filter_names(filters: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(filters)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().into_string().map_err(|name| format!("not a filter name: {name:?}"))?);
        }
    }
    names.sort();
    Ok(names)
}

fn package(name: &str) -> String {
    format!("meshup-filter-{name}")
}

fn watch(workspace: &Path, filters: &Path, names: &[String]) {
    let shared = SHARED_SOURCES.iter().map(|source| workspace.join(source));
    let own = names.iter().flat_map(|name| ["Cargo.toml", "src"].map(|source| filters.join(name).join(source)));
    for path in shared.chain(own).chain([filters.join("build.rs")]) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// The outer cargo's target folder: the nearest one above `out` that cargo has marked as a cache.
fn target_dir(out: &Path) -> &Path {
    out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap_or(out)
}

fn build(workspace: &Path, target_dir: &Path, names: &[String]) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    cargo.current_dir(workspace).args(["build", "--lib", "--target", TARGET, "--profile", PROFILE]);
    cargo.arg("--target-dir").arg(target_dir);
    cargo.args(names.iter().flat_map(|name| ["--package".into(), package(name)]));
    forget_outer_cargo(&mut cargo);
    cargo.envs(wasm_environment(workspace)?);
    // This script's stdout is for the outer cargo; its stderr is shown when it fails.
    let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("building the filters for {TARGET} failed: {status}").into()) }
}

/// Flags and wrappers of the outer build (clippy, coverage, `-C target-cpu`) must not reach the filters.
fn forget_outer_cargo(cargo: &mut Command) {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_TERM_"];
    const FLAGS: [&str; 3] = ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let outer = name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept));
        if outer || FLAGS.contains(&name) {
            cargo.env_remove(name);
        }
    }
}

/// Makes the target usable and returns the variables that it needs.
fn wasm_environment(workspace: &Path) -> Result<Vec<(String, String)>> {
    let script = workspace.join("scripts/wasm-target");
    let output = Command::new("sh").arg(script).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("scripts/wasm-target failed: {}", output.status).into());
    }
    let lines = String::from_utf8(output.stdout)?;
    let exports = lines.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    Ok(exports.map(|(name, value)| (name.into(), value.into())).collect())
}

fn table(names: &[String]) -> String {
    let modules = names.iter().map(|name| format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.wasm\")),"));
    format!(
        "/// The names of the bundled filters, sorted.\npub const NAMES: &[&str] = &{names:?};\n\
         const MODULES: &[&[u8]] = &[{}];\n",
        modules.collect::<String>()
    )
}
