//! Loading the modules that a configuration names: each once, and several at the same time.
//!
//! **Invariant:** every filter gets its module or the [`Problem`] with it, whatever became of the others.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    num::NonZero,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use rustix::fs::OFlags;

use crate::{
    config::{Diagnostic, Filter, Location, ModuleSource},
    wasm::{MAX_MODULE_BYTES, Module, Priority, Runtime},
};

type Loaded = HashMap<ModuleSource, Result<Arc<Module>, Problem>>;

/// A module to load.
struct Wanted<'a> {
    source: &'a ModuleSource,
    /// The most memory that a filter of it may take, bytes.
    memory_bytes: usize,
    priority: Priority,
}

/// What is wrong with a module, whoever names it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    message: String,
    help: Option<String>,
}

impl Problem {
    fn new(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), help: None }
    }

    /// As the problem of a filter.
    pub(super) fn about(self, filter: &str, location: &Location) -> Diagnostic {
        let fault = location.error(format!("filter {filter:?}: {}", self.message));
        match self.help {
            Some(help) => fault.with_help(help),
            None => fault,
        }
    }
}

/// The modules of all filters, in the order of the filters.
pub(super) fn load(
    runtime: &Runtime,
    filters: &BTreeMap<Arc<str>, Filter>,
    priority: Priority,
) -> Vec<Result<Arc<Module>, Problem>> {
    let mut wanted: BTreeMap<_, usize> = BTreeMap::new();
    for filter in filters.values() {
        let memory_bytes = wanted.entry(&filter.module).or_default();
        *memory_bytes = filter.limits.memory_bytes.max(*memory_bytes);
    }
    let wanted = wanted.into_iter().map(|(source, memory_bytes)| Wanted { source, memory_bytes, priority });
    let wanted = Vec::from_iter(wanted);
    let loaded = load_all(runtime, &wanted);
    let missed = |filter: &Filter| {
        let (source, memory_bytes) = (&filter.module, filter.limits.memory_bytes);
        load_one(runtime, &Wanted { source, memory_bytes, priority })
    };
    filters.values().map(|filter| loaded.get(&filter.module).cloned().unwrap_or_else(|| missed(filter))).collect()
}

/// As many at a time as there are processors.
fn load_all(runtime: &Runtime, wanted: &[Wanted<'_>]) -> Loaded {
    let (next, loaded) = (AtomicUsize::new(0), Mutex::new(Loaded::new()));
    let work = || {
        while let Some(wanted) = wanted.get(next.fetch_add(1, Relaxed)) {
            let module = load_one(runtime, wanted);
            loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted.source.clone(), module);
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(wanted.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where there is no thread the others do its work.
            _ = thread::Builder::new().name("load".into()).spawn_scoped(scope, work);
        }
        work();
    });
    loaded.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn load_one(runtime: &Runtime, wanted: &Wanted<'_>) -> Result<Arc<Module>, Problem> {
    let load = |wasm| runtime.load_with(wasm, wanted.priority, wanted.memory_bytes);
    match wanted.source {
        ModuleSource::Builtin(name) => {
            let wasm = meshup_filters::builtin(name).ok_or_else(|| unknown_builtin(name))?;
            load(wasm).map_err(Problem::new)
        }
        ModuleSource::File(path) => {
            let wasm = read(path)
                .map_err(|error| Problem::new(format_args!("cannot read the module {}: {error}", path.display())))?;
            let problem = |error| Problem::new(format_args!("module {}: {error}", path.display()));
            load(&wasm).map_err(problem)
        }
    }
}

fn unknown_builtin(name: &str) -> Problem {
    let known = meshup_filters::NAMES.join(", ");
    let likely = meshup_filters::NAMES.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2);
    let help = match likely {
        Some(likely) => format!("did you mean \"builtin:{likely}\"? there are: {known}"),
        None => format!("there are: {known}"),
    };
    Problem { message: format!("there is no bundled filter {name:?}"), help: Some(help) }
}

/// One byte more than a module may have shows that it is too large. A pipe is not waited for: nothing could be reloaded
/// meanwhile.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut wasm = Vec::new();
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    file.take(MAX_MODULE_BYTES as u64 + 1).read_to_end(&mut wasm)?;
    Ok(wasm)
}
