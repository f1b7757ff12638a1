//! `meshup filter build`: cargo, with the wasm target, and a look at what comes out.
//!
//! How the target is added is not known here but in `scripts/wasm-target`.
//!
//! **Invariant:** success means that this host would load the file that is printed.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::{BuildFilter, inspect, output};

const TARGET: &str = "wasm32-unknown-unknown";
const TARGET_SCRIPT: &str = include_str!("../../../scripts/wasm-target");

pub(super) fn run(args: &BuildFilter) -> anyhow::Result<()> {
    let manifest = args.dir.join("Cargo.toml");
    ensure!(manifest.is_file(), "{} is no crate: it has no Cargo.toml", args.dir.display());
    let environment = ensure_target()?;
    let modules = cargo_build(&args.dir, &manifest, environment)?;
    ensure!(!modules.is_empty(), "no .wasm file was built: Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`");
    for module in modules {
        let report = inspect::inspect(&module)?;
        report.verdict()?;
        output::print(format_args!("{}  {}\n", module.display(), report.size()))?;
    }
    Ok(())
}

/// Makes the target usable; gives what cargo needs in its environment.
fn ensure_target() -> anyhow::Result<Vec<(String, String)>> {
    let script = Command::new("sh").args(["-c", TARGET_SCRIPT]).stderr(Stdio::inherit()).output();
    let output = script.context("cannot run sh, which prepares the Rust target")?;
    ensure!(output.status.success(), "the Rust target {TARGET} is missing: run `rustup target add {TARGET}`");
    Ok(exports(&String::from_utf8_lossy(&output.stdout)))
}

/// The variables of `export NAME=value` lines.
fn exports(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Builds; cargo's own output goes to stderr. Gives the .wasm files of the crate itself.
fn cargo_build(dir: &Path, manifest: &Path, environment: Vec<(String, String)>) -> anyhow::Result<Vec<PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut child = Command::new(&cargo)
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .current_dir(dir)
        .envs(environment)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}: is Rust installed?", cargo.display()))?;
    let manifest = manifest.canonicalize()?;
    let lines = child.stdout.take().map(BufReader::new).context("cargo has no output")?.lines();
    let modules = lines.map_while(Result::ok).flat_map(|line| modules(&line, &manifest)).collect();
    std::io::stderr().flush()?;
    match child.wait()? {
        status if status.success() => Ok(modules),
        status => bail!("cargo build failed ({status})"),
    }
}

/// A line of cargo's messages, as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The .wasm files that a message says were built of this crate.
fn modules(line: &str, manifest: &Path) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<Message>(line) else { return Vec::new() };
    if message.reason != "compiler-artifact" || message.manifest_path != manifest {
        return Vec::new();
    }
    message.filenames.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "wasm")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exports_become_variables() {
        let text = "info\nexport RUSTC=/usr/bin/rustc\nexport FLAGS=a=b\nexport nothing\n";
        let expected = [("RUSTC", "/usr/bin/rustc"), ("FLAGS", "a=b")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(exports(text), expected);
    }

    #[test]
    fn only_the_modules_of_the_crate_itself_count() {
        let line =
            r#"{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","filenames":["/t/a.wasm","/t/a.d"]}"#;
        assert_eq!(modules(line, Path::new("/a/Cargo.toml")), [PathBuf::from("/t/a.wasm")]);
        assert!(modules(line, Path::new("/b/Cargo.toml")).is_empty());
        assert!(modules("warning: no json", Path::new("/a/Cargo.toml")).is_empty());
    }
}
