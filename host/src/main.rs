//! The `meshup` binary: takes the command line apart and turns errors into words and an exit code.
//!
//! **Invariant:** exit code 0 means that what was asked for was done.

use std::{
    io::{self, Write},
    process::ExitCode,
};

#[global_allocator]
static ALLOCATOR: meshup::Allocator = meshup::Allocator;

fn main() -> ExitCode {
    // The allocator takes memory 64 KiB at a time; huge pages round each of its spots up to 2 MiB, which trebles what an
    // idle proxy holds. A kernel that refuses costs memory, nothing else.
    _ = rustix::thread::disable_transparent_huge_pages(true);
    meshup::cli::main().unwrap_or_else(|error| {
        // Not `eprintln!`, which panics when nobody takes it.
        _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
