//! What all filters of the process share: the engine, the loaded modules, the shared state and the metric series.
//!
//! **Invariant:** nothing here keeps a module alive that no filter uses.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use aws_lc_rs::digest;
use wasmtime::{Engine, Linker};

use super::{
    cache::DiskCache,
    compiler::{Compiler, Priority},
    cpu::Ticker,
    engine,
    environment::{Environment, Guest},
    host_calls,
    instance::Instance,
    limits::MemoryBudget,
    module::{self, Module, ModuleError},
    rate::LineLimit,
    series::SeriesTable,
    state::SharedState,
};
use crate::config::FilterLimits;

/// CPU time of a call while a module is loaded, before the limits of a filter are known.
const LOAD_CPU: Duration = Duration::from_millis(100);
/// Memory that a module may take while it is loaded by someone who knows of no filter.
const LOAD_MEMORY: usize = 1 << 30;

/// How the runtime is set up.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Where compiled code is kept between starts; nowhere when none.
    pub cache_dir: Option<PathBuf>,
    /// Where modules are compiled.
    pub compiler: Compiler,
    /// The most instances alive at once, over all filters and workers. Each reserves 4 GiB of addresses, not of memory.
    pub max_instances: u32,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { cache_dir: None, compiler: Compiler::InProcess, max_instances: 4096 }
    }
}

/// The engine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The WebAssembly engine refuses its settings or finds no room for its pool.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    /// The thread that limits CPU time could not be started.
    #[error("the epoch thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<wasmtime::Error> for RuntimeError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}

/// The WebAssembly side of the process; survives reloads.
pub struct Runtime {
    engine: Engine,
    linker: Linker<Guest>,
    ticker: Arc<Ticker>,
    memory: Arc<MemoryBudget>,
    cache: Option<DiskCache>,
    compiler: Compiler,
    modules: Mutex<HashMap<String, Weak<Module>>>,
    state: SharedState,
    series: SeriesTable,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Sets up the engine and starts the epoch thread.
    ///
    /// # Errors
    /// [`RuntimeError`] when the process lacks addresses or threads.
    pub fn new(options: RuntimeOptions) -> Result<Arc<Self>, RuntimeError> {
        let engine = engine::start(options.max_instances)?;
        Ok(Arc::new(Self {
            linker: host_calls::linker(&engine)?,
            ticker: Ticker::start(&engine)?,
            memory: Arc::new(MemoryBudget::new()),
            cache: options.cache_dir.and_then(|folder| DiskCache::open(&folder, &engine)),
            compiler: options.compiler,
            engine,
            modules: Mutex::default(),
            state: SharedState::default(),
            series: SeriesTable::default(),
        }))
    }

    /// Loads a module: compiles it or finds it compiled, and checks that it is a filter.
    ///
    /// # Errors
    /// [`ModuleError`] says what is wrong with it.
    pub fn load(&self, wasm: &[u8]) -> Result<Arc<Module>, ModuleError> {
        self.load_with(wasm, Priority::Normal, LOAD_MEMORY)
    }

    /// [`load`](Self::load), where a compilation may take second place and the module's start function gets no more
    /// memory than the filters that are to be made of it.
    ///
    /// # Errors
    /// [`ModuleError`] says what is wrong with it.
    pub fn load_with(&self, wasm: &[u8], priority: Priority, memory_bytes: usize) -> Result<Arc<Module>, ModuleError> {
        module::check_format(wasm)?;
        let digest = hex(digest::digest(&digest::SHA256, wasm).as_ref());
        if let Some(module) = self.modules().get(&digest).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let compiled = match self.cached(&digest) {
            Some(compiled) => compiled,
            None => self.compile(wasm, &digest, priority)?,
        };
        let (pre, exports) = module::link(&compiled, &self.linker)?;
        let module = Module { digest, size: wasm.len(), pre, exports };
        self.probe(&module, memory_bytes)?;
        Ok(self.register(module))
    }

    /// The module, or the equal one that another thread loaded meanwhile.
    fn register(&self, module: Module) -> Arc<Module> {
        let mut modules = self.modules();
        if let Some(module) = modules.get(&module.digest).and_then(Weak::upgrade) {
            return module;
        }
        modules.retain(|_, module| module.strong_count() > 0);
        let module = Arc::new(module);
        modules.insert(module.digest.clone(), Arc::downgrade(&module));
        module
    }

    /// What all instances may take of memory together, bytes; none means no limit.
    pub fn limit_memory(&self, bytes: Option<usize>) {
        self.memory.set_limit(bytes.unwrap_or(usize::MAX));
    }

    /// How many modules are loaded.
    #[must_use]
    pub fn modules_loaded(&self) -> usize {
        self.modules().values().filter(|module| module.strong_count() > 0).count()
    }

    /// Starts the module once, to ask for its version.
    fn probe(&self, module: &Module, memory_bytes: usize) -> Result<(), ModuleError> {
        let limits = FilterLimits { memory_bytes, cpu_per_call: LOAD_CPU };
        let probe = self.environment(&"(load)".into(), &limits, 0);
        module::check_version(Instance::version(module, &probe))
    }

    fn cached(&self, digest: &str) -> Option<wasmtime::Module> {
        let artifact = self.cache.as_ref()?.read(digest)?;
        let warn = |error: &_| tracing::warn!(digest, "compiled filter in the cache is not used: {error:#}");
        artifact.load(&self.engine).inspect_err(warn).ok()
    }

    fn compile(&self, wasm: &[u8], digest: &str, priority: Priority) -> Result<wasmtime::Module, ModuleError> {
        let artifact = self.compiler.compile(&self.engine, wasm, priority)?;
        let compiled = artifact
            .load(&self.engine)
            .map_err(|error| ModuleError::Compiler { reason: format!("its code cannot be used: {error:#}") })?;
        if let Some(cache) = &self.cache {
            cache.write(digest, artifact.bytes());
        }
        Ok(compiled)
    }

    /// What the instances of a filter share.
    pub(super) fn environment(
        &self,
        filter: &Arc<str>,
        limits: &FilterLimits,
        log_lines_per_second: u32,
    ) -> Arc<Environment> {
        Arc::new(Environment {
            filter: Arc::clone(filter),
            limits: limits.clone(),
            memory: Arc::clone(&self.memory),
            ticker: Arc::clone(&self.ticker),
            log: LineLimit::per_second(log_lines_per_second),
            state: self.state.of(filter),
            series: self.series.of(filter),
        })
    }

    fn modules(&self) -> MutexGuard<'_, HashMap<String, Weak<Module>>> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
