//! meshup: a sidecar proxy whose behaviour is a chain of sandboxed WebAssembly filters.

pub mod config;
pub mod exchange;
pub mod wasm;
