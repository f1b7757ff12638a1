//! What commands say on standard output.
//!
//! Not `print!`, which panics when nobody takes it.
//!
//! **Invariant:** a reader that has gone has what it wanted; anything else that keeps output from being written is a failure.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;

/// Writes all of it.
pub(super) fn print(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    taken(write!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Writes what the parser of the command line has to say: the help, the version, or what it does not understand.
pub(super) fn print_instead(said: &clap::Error) -> anyhow::Result<ExitCode> {
    let written = said.print();
    if !said.use_stderr() {
        taken(written.and_then(|()| io::stdout().flush()))?;
    }
    Ok(u8::try_from(said.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn taken(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
