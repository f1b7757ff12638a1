//! How many instructions the proxy executes for one request: counted by callgrind, so that a noisy machine counts the
//! same as a quiet one.
//!
//! The program starts itself under valgrind as the proxy (the library, filters compiled in process), sends it requests
//! over kept-alive connections, and counts only while they are under way. What the kernel does is not counted.
//!
//! **Invariant:** only processes started here are signalled, by their own id.

mod gate;
mod profile;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use meshup_benches::{
    committed,
    in_process::{self, Chain, HEADER_FILTER, Served, chains, configuration},
    load::{Clients, Load},
    origin,
    peers::Protocol,
    process::ending,
};

use crate::gate::{Cost, Costs};

// As in the `meshup` binary.
#[global_allocator]
static ALLOCATOR: meshup::Allocator = meshup::Allocator;

/// Instructions per proxied request, under callgrind.
#[derive(Parser)]
struct Arguments {
    /// Requests that are counted.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Requests at a time, on kept-alive connections or, with HTTP/2, streams of one.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Show where they go: so many functions.
    #[arg(long, default_value_t = 0)]
    functions: usize,
    /// What stands in the table of each header filter.
    #[arg(long, value_name = "TOML", default_value = HEADER_FILTER)]
    filter: String,
    /// Only this scenario.
    #[arg(long)]
    only: Option<String>,
    /// Keep callgrind's files in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Fail if a request costs more than this file says, by more than 5 %.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Write what a request costs to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    write: Option<PathBuf>,
    /// Be the proxy, with the configuration in this file.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(config) = arguments.serve {
        let _app = in_process::serve(config)?;
        loop {
            std::thread::park();
        }
    }
    let _files = ending::with_children()?;
    let origin = origin::start(Protocol::Http1)?;
    let mut costs = Costs::new();
    let http1 = chains(&arguments.filter).map(|(name, chain)| (name, chain, Protocol::Http1));
    for (name, chain, protocol) in http1.into_iter().chain([("HTTP/2, no filters", Chain::new(), Protocol::Http2)]) {
        if arguments.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let folder = arguments.keep.as_deref().unwrap_or(folder.path());
        let config = configuration(origin, &chain);
        let profile = count(&arguments, protocol, &config, folder)?;
        let requests: u64 = arguments.requests.into();
        let cost = Cost { total: profile::total(&profile)? / requests, parts: profile::parts(&profile, requests)? };
        println!("{name:<20} {:>8} instructions/request", cost.total);
        if arguments.functions > 0 {
            println!("{}", profile::functions(&profile, arguments.functions, requests)?);
        }
        costs.insert(name.to_owned(), cost);
    }
    ensure!(!costs.is_empty(), "there is no scenario {:?}", arguments.only.unwrap_or_default());
    if let Some(file) = &arguments.write {
        gate::write(file, &costs)?;
    }
    if let Some(file) = &arguments.check {
        let committed: Costs = committed::read(file)?;
        let (mut faults, unknown) = (gate::faults(&committed, &costs), gate::unknown_parts(&committed, &costs));
        if arguments.only.is_none() {
            faults += &committed::unmeasured(&committed, &costs);
        }
        if !unknown.is_empty() && faults.is_empty() {
            let parts = unknown.join(", ");
            eprintln!("{} has no part {parts}: write it anew (make instructions-commit)", file.display());
        }
        let hint = "where all parts grew, the profile no longer fits the code: make profile";
        ensure!(faults.is_empty(), "more than {} allows:\n{faults}\n{hint}", file.display());
    }
    Ok(())
}

/// Counts one scenario; the file with callgrind's result.
fn count(arguments: &Arguments, protocol: Protocol, config: &str, folder: &Path) -> Result<PathBuf> {
    let file = folder.join("meshup.toml");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, config))
        .with_context(|| file.display().to_string())?;
    let output = folder.join("callgrind.out");
    let mut proxy = Served::start(valgrind(&output)?, &file)?;
    let mut clients = Clients::connect(&Load::small(protocol, arguments.connections.into()), proxy.address)?;
    clients.run_in_rounds(200)?;
    instrument(&proxy, "on")?;
    clients.run_in_rounds(arguments.requests as usize)?;
    instrument(&proxy, "off")?;
    proxy.end()?;
    Ok(output)
}

/// This program under valgrind, which does not count yet.
fn valgrind(output: &Path) -> Result<Command> {
    ensure!(Command::new("valgrind").arg("--version").output().is_ok(), "valgrind: apt-get install valgrind");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--instr-atstart=no", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", output.display())).arg(std::env::current_exe()?);
    Ok(command)
}

fn instrument(proxy: &Served, how: &str) -> Result<()> {
    let output = Command::new("callgrind_control").args(["-i", how, &proxy.id().to_string()]).output()?;
    ensure!(output.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
