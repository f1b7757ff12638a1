//! What one proxied request costs in CPU time: meshup beside other proxies, on this machine, in the same minutes.
//!
//! One origin, one load generator (`wrk`) and one proxy at a time, all on loopback with kept-alive connections. The
//! proxy has the first core for itself; origin and load share the second. The figure is the CPU time of the proxy's
//! processes divided by the requests answered, so it does not depend on which core is the bottleneck. The peers take
//! turns for some rounds, so that a disturbance meets all of them.
//!
//! It does not measure latency, and it is no test: nothing fails when a figure is bad.
//!
//! **Invariant:** only processes started here are signalled, by their own id.

mod load;
mod origin;
mod table;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;

use meshup_benches::{
    peers::{self, Filters, Peer, Protocol, Setup},
    process::{self, Running},
};

use crate::{
    load::Load,
    table::{Sample, Table},
};

/// Where the proxy under test runs.
const PROXY_CORE: usize = 0;
/// Where origin and load generator run.
const LOAD_CORE: usize = 1;

/// CPU time per proxied request, side by side with other proxies.
#[derive(Parser)]
struct Arguments {
    /// How often every proxy has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in one turn.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Kept-alive connections to the proxy.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Only these proxies, by the names in the table.
    #[arg(long)]
    only: Vec<String>,
    /// The meshup to measure; by default the one beside this program.
    #[arg(long)]
    meshup: Option<PathBuf>,
    /// Be the origin, on this address.
    #[arg(long, hide = true)]
    origin: Option<SocketAddr>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.origin {
        Some(address) => origin::serve(address),
        None => compare(&arguments),
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let load = Load::new(arguments.connections, Duration::from_secs(arguments.seconds))?;
    let origin = Running::start(process::this_program()?.arg("--origin"), LOAD_CORE)?;
    let mut peers = peers::present(&meshup(arguments)?, &builds()?);
    peers.retain(|peer| arguments.only.is_empty() || arguments.only.iter().any(|name| name == peer.name));
    let mut table = Table::new(peers.iter().map(|peer| peer.name));
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        for peer in &peers {
            match measure(peer, origin.address, &load) {
                Ok(sample) => table.add(peer.name, sample),
                Err(error) => table.fail(peer.name, format!("{error:#}")),
            }
        }
    }
    print!("{table}");
    Ok(())
}

fn meshup(arguments: &Arguments) -> Result<PathBuf> {
    if let Some(path) = &arguments.meshup {
        return Ok(path.clone());
    }
    let program = std::env::current_exe()?;
    Ok(program.parent().context("this program has no folder")?.join("meshup"))
}

/// Beside the folder of this program, for the next run to find it built.
fn builds() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("this program has no folder")?.with_file_name("peers"))
}

/// One turn of one peer: start it, warm it up, load it, and read what it used.
fn measure(peer: &Peer, origin: SocketAddr, load: &Load) -> Result<Sample> {
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        listen: process::free_address()?,
        origin,
        down: Protocol::Http1,
        up: Protocol::Http1,
        tls: None,
        filters: Filters::None,
        workers: 1,
        folder: folder.path().into(),
    };
    let proxy = peer.start(&setup, PROXY_CORE)?.context("it cannot")?;
    load::expect_body(proxy.address)?;
    load.run_for(Duration::from_secs(1), proxy.address)?;
    let before = proxy.cpu_time()?;
    let answered = load.run(proxy.address)?;
    let cpu = proxy.cpu_time()?.saturating_sub(before);
    Ok(Sample { cpu_per_request: cpu.div_f64(answered.requests as f64), requests_per_second: answered.per_second })
}
