//! Compiled code: made here, and turned back into a module.
//!
//! The only unsafe code of the filter host: the bytes become machine code that runs outside the sandbox.
//!
//! **Invariant:** a [`TrustedArtifact`] holds bytes that this program made: compiled by itself, by its own child
//! process, or by an earlier process that put them in the disk cache.

#![allow(unsafe_code, reason = "wasmtime cannot check compiled code; where it comes from is what makes it safe")]

use wasmtime::{Engine, Module};

/// Compiled code that wasmtime made and that nobody else could have changed since.
pub(super) struct TrustedArtifact(Vec<u8>);

impl TrustedArtifact {
    /// Compiles. `wasm` is in the binary format.
    pub(super) fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self> {
        engine.precompile_module(wasm).map(Self)
    }

    /// The caller vouches that the bytes are what [`compile`](Self::compile) gave. Either they come from a file of this
    /// user in a folder that only this user can write, read whole, and their digest is the one written with them; or
    /// they were read from the pipe of a child process of this program, which ended well.
    pub(super) fn vouched(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The module, when the engine that made it is compatible with this one.
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: `deserialize` needs bytes that wasmtime's compiler made. `TrustedArtifact` has three sources. `compile`
        // is that compiler. The disk cache checks the owner and the permissions of file and folder and a SHA-256 over the
        // whole content. The child process is this program, named by whoever set up the runtime, with the compiler as its
        // only work; nobody but it holds the other end of the pipe, and what it gave is used only when it says with its
        // exit code that it is whole. The bytes are in memory of our own, so that no later change of a file can reach
        // them. Version and settings of the engine are checked by wasmtime.
        unsafe { Module::deserialize(engine, &self.0) }
    }
}
