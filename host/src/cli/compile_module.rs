//! `meshup compile-module`: the child process in which the proxy compiles a module.
//!
//! WebAssembly from standard input becomes compiled code on standard output; what is wrong with it goes to standard
//! error, without decoration. All input is read before anything is written.
//!
//! **Invariant:** exit code 0 means that the code is whole.

use std::{
    fs,
    io::{self, Read, Write},
    process::ExitCode,
};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, Signal};

use super::CompileModule;
use crate::wasm::{MAX_MODULE_BYTES, MODULE_REFUSED, ModuleError, Priority, precompile};

/// Memory for data: several times what the largest module is known to take. Not address space, of which the engine
/// and the allocator reserve more than they use.
const MAX_DATA_BYTES: u64 = 4 << 30;
const NICENESS: i32 = 10;

pub(super) fn run(args: &CompileModule) -> anyhow::Result<ExitCode> {
    let priority = if args.low_priority { Priority::Low } else { Priority::Normal };
    confine(priority);
    let mut wasm = Vec::new();
    io::stdin().lock().take(MAX_MODULE_BYTES as u64).read_to_end(&mut wasm).context("cannot read the module")?;
    match precompile(&wasm, priority) {
        Ok(code) => {
            io::stdout().lock().write_all(&code).context("cannot write the code")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ModuleError::Invalid { reason }) => {
            eprintln!("{reason}");
            Ok(ExitCode::from(MODULE_REFUSED))
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps this process from harming others. What the kernel does not grant is done without. Comes before the first
/// thread: niceness is a thread's own and inherited.
fn confine(priority: Priority) {
    if priority == Priority::Low {
        _ = rustix::process::nice(NICENESS);
    }
    _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    _ = rustix::process::setrlimit(Resource::Data, limit(MAX_DATA_BYTES));
    _ = rustix::process::setrlimit(Resource::Core, limit(0));
    // Where memory runs out, this process goes and not the proxy.
    _ = fs::write("/proc/self/oom_score_adj", "1000");
}

fn limit(bytes: u64) -> Rlimit {
    Rlimit { current: Some(bytes), maximum: Some(bytes) }
}
