//! What the benchmarks whose proxies take turns are told alike.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;

/// How the turns are taken.
#[derive(Debug, Args)]
pub struct Turns {
    /// How often everyone has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of load in one turn.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The meshup to measure; by default the one beside this program.
    #[arg(long)]
    meshup: Option<PathBuf>,
}

impl Turns {
    /// How often everyone has its turn; at least once.
    pub fn rounds(&self) -> usize {
        self.rounds.into()
    }

    /// How long the load of one turn is.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The meshup to measure.
    ///
    /// # Errors
    ///
    /// This program is in no folder.
    pub fn meshup(&self) -> Result<PathBuf> {
        self.meshup.clone().map_or_else(|| Ok(build_folder()?.join("meshup")), Ok)
    }
}

/// The target folder that this program was built in.
///
/// # Errors
///
/// It is in none.
pub fn target_folder() -> Result<PathBuf> {
    Ok(build_folder()?.parent().context("this program is in no target folder")?.into())
}

fn build_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    program.parent().map(Path::to_path_buf).context("this program has no folder")
}
