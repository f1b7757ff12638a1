//! Turning compiled code back into a module.
//!
//! The only unsafe code of the filter host: the bytes become machine code that runs outside the sandbox.
//!
//! **Invariant:** [`TrustedArtifact`] is made only by the disk cache, of bytes this program itself wrote.

#![allow(unsafe_code, reason = "wasmtime cannot check compiled code; where it comes from is what makes it safe")]

use wasmtime::{Engine, Module};

/// Compiled code that `Module::serialize` made and that nobody else could have changed since.
pub(super) struct TrustedArtifact(Vec<u8>);

impl TrustedArtifact {
    /// The caller vouches that the bytes are what [`Module::serialize`] gave: they come from a file of this user in a
    /// folder that only this user can write, read whole, and their digest is the one written with them.
    pub(super) fn vouched(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The module, when the engine that made it is compatible with this one.
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: `deserialize` needs bytes that `serialize` made. `TrustedArtifact` has no other source than the disk
        // cache, which checks the owner and the permissions of file and folder and a SHA-256 over the whole content,
        // and which gives bytes in memory of our own, so that no later change of the file can reach them. Version and
        // settings of the engine are checked by wasmtime.
        unsafe { Module::deserialize(engine, &self.0) }
    }
}
