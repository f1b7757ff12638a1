//! The `meshup` binary: takes the command line apart and turns errors into words and an exit code.
//!
//! **Invariant:** exit code 0 means that what was asked for was done.

use std::process::ExitCode;

use clap::Parser;
use meshup::cli::Cli;

#[global_allocator]
static ALLOCATOR: meshup::Allocator = meshup::Allocator;

fn main() -> ExitCode {
    // The allocator takes memory 64 KiB at a time; huge pages round each of its spots up to 2 MiB, which trebles what an
    // idle proxy holds. A kernel that refuses costs memory, nothing else.
    _ = rustix::thread::disable_transparent_huge_pages(true);
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
