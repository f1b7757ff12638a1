//! The WebAssembly engine and its settings.
//!
//! **Invariant:** what one of these engines compiled, another one of the same build of this program runs: they differ
//! in how they allocate, in nothing that code depends on.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::{
    compiler::Priority,
    limits::{TABLE_ELEMENTS, TABLES},
};

/// The guest's own stack; worker threads have 2 MiB.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Instances of unloaded modules whose slot, with its mapping of the module's data, is kept for the next of its kind.
const WARM_SLOTS: u32 = 16;
/// Memory that stays with a slot when its instance ends, where that makes the next instance cheaper.
const KEEP_BYTES: usize = 64 << 10;
/// Where there are no addresses for a pool of this size, instances are allocated one by one.
const MIN_POOL: u32 = 64;

/// An engine that runs instances: at most so many at once.
pub(super) fn start(max_instances: u32) -> Result<Engine, wasmtime::Error> {
    let started = start_pooling(max_instances);
    match started {
        // The process may not have that many addresses (`ulimit -v`, small address spaces): fewer instances then.
        Err(_) if max_instances > MIN_POOL => start(max_instances / 4),
        Err(_) => Engine::new(&config(InstanceAllocationStrategy::OnDemand)),
        started => started,
    }
}

/// An engine that only compiles. Where traffic must not suffer, it takes no more than one processor.
pub(super) fn for_compiling(priority: Priority) -> Result<Engine, wasmtime::Error> {
    let mut config = config(InstanceAllocationStrategy::OnDemand);
    config.parallel_compilation(priority == Priority::Normal);
    Engine::new(&config)
}

/// Kernels from 6.7 on tell which pages an instance touched, so that resetting these few is cheaper than giving all back.
/// On others the reset would touch every page, and pages are given back instead.
fn start_pooling(max_instances: u32) -> Result<Engine, wasmtime::Error> {
    let mut keeping = pool(max_instances);
    keeping.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEEP_BYTES).table_keep_resident(KEEP_BYTES);
    let pooling = |pool| config(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&pooling(keeping)).or_else(|_| Engine::new(&pooling(pool(max_instances))))
}

fn config(strategy: InstanceAllocationStrategy) -> Config {
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
