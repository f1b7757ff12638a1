//! The `meshup` binary: takes the command line apart and turns errors into words and an exit code.
//!
//! **Invariant:** exit code 0 means that what was asked for was done.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Parser;
use meshup::{
    cli::{Cli, Command},
    config,
};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Filter(command) => command.run(),
        Command::Check(file) => config::read(&file.config).map(drop).map_err(|faults| anyhow!("\n{faults}")),
        Command::Run(_) | Command::Demo => bail!("this command is not part of this build yet"),
    }
}
