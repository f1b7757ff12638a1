//! Compiling a module: in this process, or in a child process with a deadline.
//!
//! Compiling takes seconds of CPU time and leaves a hundred megabytes with the allocator, and how much a module needs
//! is up to whoever wrote it. A child process takes all that away with it, and can be ended.
//!
//! **Invariant:** a child process is gone, and waited for, when [`Compiler::compile`] returns.

use std::{path::PathBuf, time::Duration};

use wasmtime::Engine;

use super::{artifact::TrustedArtifact, engine, module::ModuleError};

mod child;

pub use child::MODULE_REFUSED;

/// Where modules are compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process. Nothing bounds the time and the memory that takes.
    #[default]
    InProcess,
    /// In a child process for each module.
    Child {
        /// The `meshup` binary of the same build as this program.
        program: PathBuf,
        /// When the child is ended and the module refused.
        deadline: Duration,
    },
}

impl Compiler {
    /// Bundled filters take a second on a slow machine.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// A child process that runs this program again, for the `meshup` binary alone. The path stays good when the file
    /// is replaced or removed.
    #[must_use]
    pub fn this_program() -> Self {
        Self::Child { program: "/proc/self/exe".into(), deadline: Self::DEADLINE }
    }

    /// The code of a module for engines like `own`.
    pub(super) fn compile(
        &self,
        own: &Engine,
        wasm: &[u8],
        priority: Priority,
    ) -> Result<TrustedArtifact, ModuleError> {
        let Self::Child { program, deadline } = self else { return compile(own, wasm) };
        match child::compile(program, *deadline, wasm, priority) {
            Err(child::Failure::Start(error)) => {
                tracing::warn!(program = %program.display(), %error, "no process to compile in; compiling in this one");
                compile(own, wasm)
            }
            Err(child::Failure::Module(error)) => Err(error),
            Ok(artifact) => Ok(artifact),
        }
    }
}

/// What a compilation gives way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Nothing waits for the processor but what waits for this module: a start.
    Normal,
    /// Traffic goes first: a reload.
    Low,
}

/// What the child process does: the code of a module for every engine of this program.
///
/// # Errors
/// [`ModuleError`] says what is wrong with the module.
pub fn precompile(wasm: &[u8], priority: Priority) -> Result<Vec<u8>, ModuleError> {
    let engine =
        engine::for_compiling(priority).map_err(|error| ModuleError::Compiler { reason: format!("{error:#}") })?;
    compile(&engine, wasm).map(TrustedArtifact::into_bytes)
}

fn compile(engine: &Engine, wasm: &[u8]) -> Result<TrustedArtifact, ModuleError> {
    TrustedArtifact::compile(engine, wasm).map_err(|error| ModuleError::Invalid { reason: format!("{error:#}") })
}
