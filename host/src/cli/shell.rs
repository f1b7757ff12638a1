//! `meshup completions` and `meshup man`: what a shell and `man` know about the commands.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;

use super::{Cli, Completions, ManPages, output};

pub(super) fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "meshup", &mut script);
    output::print(String::from_utf8_lossy(&script))
}

/// A page for each command.
pub(super) fn man_pages(args: &ManPages) -> anyhow::Result<()> {
    let dir = args.dir.display();
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {dir}"))?;
    clap_mangen::generate_to(Cli::command(), &args.dir).with_context(|| format!("cannot write to {dir}"))
}
