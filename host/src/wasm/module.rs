//! A loaded module: compiled, linked to the host calls and known to speak the ABI.
//!
//! **Invariant:** a [`Module`] has every export of the ABI with its signature, imports nothing the host does not give,
//! and answered with the right ABI version.

use std::{fmt, time::Duration};

use meshup_abi::{IMPORT_MODULE, VERSION, export, import};
use wasmtime::{Engine, ExternType, FuncType, InstancePre, Linker, ModuleExport};

use super::{environment::Guest, fault::FaultCause};

/// The largest module, bytes.
pub const MAX_MODULE_BYTES: usize = 32 << 20;
const MAGIC: &[u8] = b"\0asm";
const CORE_VERSION: &[u8] = &[1, 0, 0, 0];
const COMPONENT_LAYER: &[u8] = &[1, 0];

/// A filter module, ready to be instantiated.
pub struct Module {
    pub(super) digest: String,
    pub(super) size: usize,
    pub(super) pre: InstancePre<Guest>,
    pub(super) exports: Exports,
}

impl Module {
    /// SHA-256 of the wasm file, hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The size of the wasm file, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    pub(super) fn engine(&self) -> &Engine {
        self.pre.module().engine()
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("digest", &self.digest).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Modules are the same when they were loaded from the same bytes.
impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Module {}

/// Why a file is not a filter module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// 0 bytes.
    #[error("the file is empty")]
    Empty,
    /// Over the limit.
    #[error("the module has {size} bytes, more than the {MAX_MODULE_BYTES} allowed")]
    TooLarge {
        /// Its size, bytes.
        size: usize,
    },
    /// Something else than wasm.
    #[error("not a WebAssembly module: it begins with {found:?}, not with \"\\0asm\"")]
    NotWasm {
        /// The first bytes, as text.
        found: String,
    },
    /// A component.
    #[error("a WebAssembly component, not a core module: build for wasm32-unknown-unknown")]
    Component,
    /// Wasm that is truncated, damaged or uses what is not supported.
    #[error("not a valid WebAssembly module: {reason}")]
    Invalid {
        /// What the compiler says.
        reason: String,
    },
    /// Compiling it was given up.
    #[error("it takes longer than {limit:?} to compile")]
    TooSlow {
        /// The time it had.
        limit: Duration,
    },
    /// The compiler itself failed, perhaps for want of memory.
    #[error("the compiler failed: {reason}")]
    Compiler {
        /// How it ended, and what it said.
        reason: String,
    },
    /// An export of the ABI is not there.
    #[error("not a meshup filter: it does not export `{name}`, {expected}")]
    MissingExport {
        /// Its name.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// An export of the ABI is something else.
    #[error("export `{name}` is {found}, not {expected}")]
    WrongExport {
        /// Its name.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The host has no such function.
    #[error("it imports `{module}.{name}`, which this host does not have{hint}")]
    UnknownImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// The likely reason, or empty.
        hint: &'static str,
    },
    /// The host's function has another signature.
    #[error("import `{name}` has the wrong signature: {reason}")]
    WrongImport {
        /// The import's name.
        name: String,
        /// What the linker says.
        reason: String,
    },
    /// Another version of the ABI.
    #[error("it speaks ABI version {found}; this host speaks version {VERSION}")]
    Version {
        /// The module's version.
        found: u32,
    },
    /// The start function or the version function failed.
    #[error("it fails when it is started: {cause}")]
    Faulted {
        /// What went wrong.
        cause: FaultCause,
    },
}

/// Where the exports are.
pub(super) struct Exports {
    pub(super) memory: ModuleExport,
    pub(super) version: ModuleExport,
    pub(super) buffer: ModuleExport,
    pub(super) configure: ModuleExport,
    pub(super) on_event: ModuleExport,
}

/// Refuses what is not a core module in the binary format, before anything expensive is done with it.
pub(super) fn check_format(wasm: &[u8]) -> Result<(), ModuleError> {
    if wasm.is_empty() {
        return Err(ModuleError::Empty);
    }
    if wasm.len() > MAX_MODULE_BYTES {
        return Err(ModuleError::TooLarge { size: wasm.len() });
    }
    let Some(rest) = wasm.strip_prefix(MAGIC) else {
        let start = wasm.get(..16).unwrap_or(wasm);
        return Err(ModuleError::NotWasm { found: String::from_utf8_lossy(start).into_owned() });
    };
    match rest.get(..4) {
        Some(CORE_VERSION) => Ok(()),
        Some(version) if version.ends_with(COMPONENT_LAYER) => Err(ModuleError::Component),
        Some(version) => Err(ModuleError::Invalid { reason: format!("unknown version {version:?}") }),
        None => Err(ModuleError::Invalid { reason: "it ends within its header".into() }),
    }
}

/// Checks exports and imports, and links.
pub(super) fn link(
    compiled: &wasmtime::Module,
    linker: &Linker<Guest>,
) -> Result<(InstancePre<Guest>, Exports), ModuleError> {
    let exports = check_exports(compiled)?;
    compiled.imports().try_for_each(|import| check_import(import.module(), import.name()))?;
    let pre = linker.instantiate_pre(compiled).map_err(|error| wrong_import(compiled, &error))?;
    Ok((pre, exports))
}

fn check_exports(module: &wasmtime::Module) -> Result<Exports, ModuleError> {
    Ok(Exports {
        memory: find_export(module, export::MEMORY, "a memory")?,
        version: find_export(module, export::VERSION, "a function () -> i32")?,
        buffer: find_export(module, export::BUFFER, "a function (i32) -> i32")?,
        configure: find_export(module, export::CONFIGURE, "a function (i32) -> i64")?,
        on_event: find_export(module, export::ON_EVENT, "a function (i32, i32, i32) -> i64")?,
    })
}

fn find_export(
    module: &wasmtime::Module,
    name: &'static str,
    expected: &'static str,
) -> Result<ModuleExport, ModuleError> {
    let missing = ModuleError::MissingExport { name, expected };
    let (Some(found), Some(index)) = (module.get_export(name), module.get_export_index(name)) else {
        return Err(missing);
    };
    let found = describe(&found);
    if found == expected { Ok(index) } else { Err(ModuleError::WrongExport { name, expected, found }) }
}

fn describe(export: &ExternType) -> String {
    match export {
        ExternType::Func(function) => describe_function(function),
        ExternType::Memory(memory) if memory.is_64() => "a 64-bit memory".into(),
        ExternType::Memory(memory) if memory.is_shared() => "a shared memory".into(),
        ExternType::Memory(_) => "a memory".into(),
        ExternType::Global(_) => "a global".into(),
        ExternType::Table(_) => "a table".into(),
        ExternType::Tag(_) => "a tag".into(),
    }
}

fn describe_function(function: &FuncType) -> String {
    let list = |types: Vec<String>| types.join(", ");
    let params = list(function.params().map(|param| param.to_string()).collect());
    let results = list(function.results().map(|result| result.to_string()).collect());
    format!("a function ({params}) -> {}", if results.is_empty() { "()" } else { &results })
}

/// Every host call.
const IMPORTS: [&str; 18] = [
    import::LOG,
    import::NOW_UNIX,
    import::NOW_MONOTONIC,
    import::RANDOM,
    import::METRIC_SERIES,
    import::METRIC_RECORD,
    import::METRIC_RECORDS,
    import::ATTRIBUTE,
    import::VARIABLE,
    import::SET_VARIABLE,
    import::STATE_GET,
    import::STATE_SET,
    import::STATE_COMPARE_AND_SWAP,
    import::STATE_ADD,
    import::STATE_REMOVE,
    import::SHA256,
    import::HMAC_SHA256,
    import::VERIFY,
];

fn check_import(module: &str, name: &str) -> Result<(), ModuleError> {
    if module == IMPORT_MODULE && IMPORTS.contains(&name) {
        return Ok(());
    }
    let hint = match module {
        IMPORT_MODULE => ": it was built for a later version",
        "wasi_snapshot_preview1" | "wasi_unstable" => ": build for wasm32-unknown-unknown, without WASI",
        "env" => ": a function that no linked library defines",
        _ if module.starts_with("__wbindgen") => ": a dependency expects a browser (wasm-bindgen)",
        _ => "",
    };
    Err(ModuleError::UnknownImport { module: module.into(), name: name.into(), hint })
}

/// The linker does not say in a structured way which import it is about; only a signature can be wrong by now.
fn wrong_import(module: &wasmtime::Module, error: &wasmtime::Error) -> ModuleError {
    let text = format!("{error:#}");
    let name =
        module.imports().map(|import| import.name().to_owned()).find(|name| text.contains(&format!("::{name}`")));
    ModuleError::WrongImport { name: name.unwrap_or_default(), reason: text }
}

/// Refuses another version of the ABI.
pub(super) fn check_version(found: Result<u32, FaultCause>) -> Result<(), ModuleError> {
    match found {
        Ok(VERSION) => Ok(()),
        Ok(found) => Err(ModuleError::Version { found }),
        Err(cause) => Err(ModuleError::Faulted { cause }),
    }
}
