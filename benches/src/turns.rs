//! What the benchmarks whose proxies take turns are told alike.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

/// How long everyone is loaded before a turn counts: just-in-time compilers, Envoy's above all, take some seconds.
pub const WARM_UP: Duration = Duration::from_secs(3);

/// How the turns are taken.
#[derive(Debug, Args)]
pub struct Turns {
    /// How often everyone has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of load in one turn.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
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

    /// How the turns are taken, for those who read the figures.
    #[must_use]
    pub fn description(&self) -> String {
        format!("{} rounds of {} s after {} s of warm-up", self.rounds, self.seconds, WARM_UP.as_secs())
    }

    /// The meshup to measure.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn meshup(&self) -> Result<PathBuf> {
        let program = self.meshup.clone().map_or_else(|| Ok(build_folder()?.join("meshup")), anyhow::Ok)?;
        let missing = || format!("no meshup to measure at {}: make release, or --meshup FILE", program.display());
        ensure!(program.is_file(), missing());
        program.canonicalize().with_context(missing)
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
