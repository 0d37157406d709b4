//! The settings of wasmtime. Compiled code only fits an engine with the settings that it was compiled for, so they have
//! one home.

use anyhow::Result;
use std::sync::Arc;
use wasmtime::{
    CacheStore, Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig,
};

/// Stack of the code in an instance: deep enough for CPython's own limit on recursion.
const STACK_BYTES: usize = 8 << 20;
/// Stack of the fiber that it runs on: the host's functions need some as well.
const FIBER_STACK_BYTES: usize = STACK_BYTES + (2 << 20);
/// Pages of a memory that are put back by copying, instead of being given back to the kernel and faulted in again.
const KEPT_MEMORY_BYTES: usize = 8_000_000;
const KEPT_TABLE_BYTES: usize = 100_000;
/// Largest memory that is mapped from the image, although much of it may be zeros that a snapshot leaves out. Otherwise
/// all of it would be copied into each instance.
const MAPPED_MEMORY_BYTES_MAX: u64 = 512 << 20;
/// What compiled code depends on and wasmtime does not look at when it is loaded.
pub(crate) const UNCHECKED: u64 = MAPPED_MEMORY_BYTES_MAX;
/// Entries of a table; CPython with its libraries has 10,000, and with numpy and its companions 70,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 200_000;
/// Instances, memories and tables of one component.
const PER_COMPONENT_MAX: u32 = 16;
/// What wasmtime may keep of an instance beside its memories and tables.
const INSTANCE_BYTES_MAX: usize = 4 << 20;

/// The version of wasmtime.
pub(crate) fn version() -> &'static str {
    ModuleVersionStrategy::WasmtimeVersion.as_str()
}

/// The settings that compiled code depends on.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(MAPPED_MEMORY_BYTES_MAX)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_component_model(true)
        .wasm_exceptions(true)
        // What differs from one processor to another, and what needs more than one memory or thread.
        .relaxed_simd_deterministic(true)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None);
    config
}

/// An engine that compiles, and runs what must be run to make an image. `functions` is asked before each function is
/// compiled whether it has been already, and given it afterwards.
pub(crate) fn for_compiling(functions: Option<Arc<dyn CacheStore>>) -> Result<Engine> {
    let mut config = settings();
    if let Some(functions) = functions {
        config.enable_incremental_compilation(functions)?;
    }
    Ok(Engine::new(&config)?)
}

/// An engine for so many instances at a time, each with at most so much memory of its own; one that catches exceptions
/// has a second memory for them. What it compiles it compiles function by function on one processor: on all of them, the
/// memory that it takes would be that of as many large functions.
pub(crate) fn for_running(instances: usize, memory_bytes_max: u64) -> Result<Engine> {
    let count = u32::try_from(instances)?;
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(count)
        .total_core_instances(count * PER_COMPONENT_MAX)
        .total_memories(2 * count)
        .total_tables(count * 4)
        .total_stacks(count)
        .total_gc_heaps(count)
        .max_core_instances_per_component(PER_COMPONENT_MAX)
        .max_memories_per_component(1)
        .max_tables_per_component(4)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_memory_size(usize::try_from(memory_bytes_max)?)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEPT_MEMORY_BYTES)
        .table_keep_resident(KEPT_TABLE_BYTES)
        .pagemap_scan(if pagemap_scan_works() { Enabled::Yes } else { Enabled::No });
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool)).parallel_compilation(false);
    Ok(Engine::new(&config)?)
}

/// Whether the kernel tells which pages were written to (Linux 6.7).
fn pagemap_scan_works() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}
