//! How much memory an instance may take.
//!
//! **Invariant:** a refused growth is remembered until the next call, so that the abort that follows it is told apart
//! from any other trap.

use wasmtime::ResourceLimiter;

/// Table elements of one instance; also what the pool reserves room for.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// Tables of one instance: the function table and one for references.
pub(super) const TABLES: u32 = 2;

/// Limits the growth of one instance.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    bytes: usize,
    refused: bool,
}

impl MemoryLimit {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, refused: false }
    }

    /// Forgets refusals: a new call begins.
    pub(super) fn begin_call(&mut self) {
        self.refused = false;
    }

    /// Whether this call was refused memory.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// The limit, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn admit(&mut self, fits: bool) -> wasmtime::Result<bool> {
        self.refused |= !fits;
        Ok(fits)
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.admit(desired <= self.bytes && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.admit(desired <= TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        1
    }
}
