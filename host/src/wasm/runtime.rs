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
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, Linker, PoolingAllocationConfig};

use super::{
    cache::DiskCache,
    cpu::Ticker,
    environment::{Environment, Guest},
    host_calls,
    instance::Instance,
    limits::{TABLE_ELEMENTS, TABLES},
    module::{self, Module, ModuleError},
    rate::LineLimit,
    series::SeriesTable,
    state::SharedState,
};
use crate::config::FilterLimits;

/// The guest's own stack; worker threads have 2 MiB.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Instances of unloaded modules whose slot, with its mapping of the module's data, is kept for the next of its kind.
const WARM_SLOTS: u32 = 16;
/// Memory that stays with a slot when its instance ends, where that makes the next instance cheaper.
const KEEP_BYTES: usize = 64 << 10;
/// While a module is loaded, before the limits of a filter are known.
const LOAD_LIMITS: FilterLimits = FilterLimits { memory_bytes: 1 << 30, cpu_per_call: Duration::from_millis(100) };

/// Where there are no addresses for a pool of this size, instances are allocated one by one.
const MIN_POOL: u32 = 64;

/// How the runtime is set up.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Where compiled code is kept between starts; nowhere when none.
    pub cache_dir: Option<PathBuf>,
    /// The most instances alive at once, over all filters and workers. Each reserves 4 GiB of addresses, not of memory.
    pub max_instances: u32,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { cache_dir: None, max_instances: 4096 }
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
    cache: Option<DiskCache>,
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
        let engine = start_engine(options.max_instances)?;
        Ok(Arc::new(Self {
            linker: host_calls::linker(&engine)?,
            ticker: Ticker::start(&engine)?,
            cache: options.cache_dir.and_then(|folder| DiskCache::open(&folder, &engine)),
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
        module::check_format(wasm)?;
        let digest = hex(digest::digest(&digest::SHA256, wasm).as_ref());
        if let Some(module) = self.modules().get(&digest).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let module = self.build(wasm, digest)?;
        let mut modules = self.modules();
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(module.digest.clone(), Arc::downgrade(&module));
        Ok(module)
    }

    /// How many modules are loaded.
    #[must_use]
    pub fn modules_loaded(&self) -> usize {
        self.modules().values().filter(|module| module.strong_count() > 0).count()
    }

    fn build(&self, wasm: &[u8], digest: String) -> Result<Arc<Module>, ModuleError> {
        let compiled = self.compile(wasm, &digest)?;
        let (pre, exports) = module::link(&compiled, &self.linker)?;
        let module = Module { digest, size: wasm.len(), pre, exports };
        let probe = self.environment(&"(load)".into(), &LOAD_LIMITS, 0);
        module::check_version(Instance::version(&module, &probe))?;
        Ok(Arc::new(module))
    }

    fn compile(&self, wasm: &[u8], digest: &str) -> Result<wasmtime::Module, ModuleError> {
        let cached = self.cache.as_ref().and_then(|cache| cache.read(digest));
        match cached.map(|artifact| artifact.load(&self.engine)) {
            Some(Ok(module)) => return Ok(module),
            Some(Err(error)) => tracing::warn!(digest, "compiled filter in the cache is not used: {error:#}"),
            None => {}
        }
        let module = wasmtime::Module::from_binary(&self.engine, wasm)
            .map_err(|error| ModuleError::Invalid { reason: format!("{error:#}") })?;
        self.keep(&module, digest);
        Ok(module)
    }

    fn keep(&self, module: &wasmtime::Module, digest: &str) {
        let Some(cache) = &self.cache else { return };
        match module.serialize() {
            Ok(code) => cache.write(digest, &code),
            Err(error) => tracing::warn!(digest, "compiled filter could not be kept: {error:#}"),
        }
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

/// Kernels from 6.7 on tell which pages an instance touched, so that resetting these few is cheaper than giving all back.
/// On others the reset would touch every page, and pages are given back instead.
fn start_engine(max_instances: u32) -> Result<Engine, wasmtime::Error> {
    let started = start_engine_for(max_instances);
    match started {
        // The process may not have that many addresses (`ulimit -v`, small address spaces): fewer instances then.
        Err(_) if max_instances > MIN_POOL => start_engine(max_instances / 4),
        Err(_) => Engine::new(&engine_config(InstanceAllocationStrategy::OnDemand)),
        started => started,
    }
}

fn start_engine_for(max_instances: u32) -> Result<Engine, wasmtime::Error> {
    let mut keeping = pool(max_instances);
    keeping.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEEP_BYTES).table_keep_resident(KEEP_BYTES);
    let pooling = |pool| engine_config(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&pooling(keeping)).or_else(|_| Engine::new(&pooling(pool(max_instances))))
}

fn engine_config(strategy: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(strategy)
        .memory_init_cow(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false);
    config
}

fn pool(max_instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(max_instances)
        .total_memories(max_instances)
        .total_tables(max_instances.saturating_mul(TABLES))
        .max_tables_per_module(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS);
    pool
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
