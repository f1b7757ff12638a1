//! `meshup filter inspect`: what a .wasm file is, and whether this host would load it.
//!
//! Nothing of the file runs but what loading it as a filter runs, within the same limits.
//!
//! **Invariant:** a file that the proxy would refuse is shown with the reason.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use serde::Serialize;
use wasmtime::{Engine, ExternType, Module};

use super::{InspectFilter, output};
use crate::wasm::{ModuleError, Runtime, RuntimeOptions};

/// What a file is.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    file: String,
    /// Why it is not a filter that this host runs.
    problem: Option<String>,
    abi_version: Option<u32>,
    size_bytes: usize,
    sha256: String,
    imports: Vec<Item>,
    exports: Vec<Item>,
}

/// An import or export.
#[derive(Debug, Serialize)]
struct Item {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

pub(super) fn run(args: &InspectFilter) -> anyhow::Result<()> {
    let report = inspect(&args.file)?;
    if args.json {
        output::print(serde_json::to_string_pretty(&report)? + "\n")?;
    } else {
        output::print(report.text())?;
    }
    report.verdict()
}

/// Reads the file and describes it.
pub(super) fn inspect(file: &Path) -> anyhow::Result<Report> {
    let wasm = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (abi_version, problem) = load(&wasm)?;
    let (imports, exports) = items(&wasm);
    Ok(Report {
        file: file.display().to_string(),
        problem,
        abi_version,
        size_bytes: wasm.len(),
        sha256: hex(digest::digest(&digest::SHA256, &wasm).as_ref()),
        imports,
        exports,
    })
}

/// The ABI version, if it is known, and why the host refuses the module, if it does.
fn load(wasm: &[u8]) -> anyhow::Result<(Option<u32>, Option<String>)> {
    let runtime = Runtime::new(RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() })?;
    Ok(match runtime.load(wasm) {
        Ok(_) => (Some(meshup_abi::VERSION), None),
        Err(error @ ModuleError::Version { found }) => (Some(found), Some(error.to_string())),
        Err(error) => (None, Some(error.to_string())),
    })
}

/// Imports and exports of a module; none of anything else.
fn items(wasm: &[u8]) -> (Vec<Item>, Vec<Item>) {
    let Ok(module) = Module::from_binary(&Engine::default(), wasm) else { return (Vec::new(), Vec::new()) };
    let import = |import: wasmtime::ImportType<'_>| Item {
        name: format!("{}.{}", import.module(), import.name()),
        kind: kind(&import.ty()),
    };
    let export = |export: wasmtime::ExportType<'_>| Item { name: export.name().to_owned(), kind: kind(&export.ty()) };
    (module.imports().map(import).collect(), module.exports().map(export).collect())
}

fn kind(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(function) => {
            let list = |types: Vec<String>| types.join(", ");
            let params = list(function.params().map(|ty| ty.to_string()).collect());
            let results = list(function.results().map(|ty| ty.to_string()).collect());
            if results.is_empty() { format!("func({params})") } else { format!("func({params}) -> {results}") }
        }
        ExternType::Memory(memory) => format!("memory, {} KiB at first", memory.minimum() * memory.page_size() / 1024),
        ExternType::Global(global) => format!("global {}", global.content()),
        ExternType::Table(_) => "table".into(),
        ExternType::Tag(_) => "tag".into(),
    }
}

impl Report {
    /// For people.
    pub(super) fn text(&self) -> String {
        let abi = match (self.abi_version, &self.problem) {
            (Some(version), None) => format!("meshup native ABI, version {version}"),
            (Some(version), Some(problem)) => format!("version {version}: {problem}"),
            (None, Some(problem)) => problem.clone(),
            (None, None) => "unknown".into(),
        };
        let head = format!("file    {}\nabi     {abi}\nsize    {}\nsha256  {}\n", self.file, self.size(), self.sha256);
        head + &listed("imports", &self.imports) + &listed("exports", &self.exports)
    }

    /// The size, for people.
    pub(super) fn size(&self) -> String {
        match self.size_bytes {
            bytes @ 0..1024 => format!("{bytes} bytes"),
            bytes => format!("{bytes} bytes ({} KiB)", bytes.div_ceil(1024)),
        }
    }

    /// An error when the host would refuse the file.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        match &self.problem {
            Some(problem) => bail!("{}: {problem}", self.file),
            None => Ok(()),
        }
    }
}

fn listed(title: &str, items: &[Item]) -> String {
    let width = items.iter().map(|item| item.name.len()).max().unwrap_or(0).min(40);
    let lines = items.iter().map(|item| format!("    {:width$}  {}\n", item.name, item.kind));
    format!("{title}{}\n", if items.is_empty() { " none" } else { "" }) + &lines.collect::<String>()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
