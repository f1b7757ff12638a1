//! How often the proxy asks for memory and calls the system for one request.
//!
//! The program starts itself as the proxy (the library, filters compiled in process) and sends it requests over kept-alive
//! connections. Allocations are counted by an allocator around meshup's own; system calls by strace, nginx's beside them
//! where there is one. The counts hardly depend on how busy the machine is, but for the calls that wait: with several
//! requests at a time these are the fewer the more of them are there at once.
//!
//! **Invariant:** only processes started here are signalled, by their own id.

mod allocations;
mod gate;
mod sites;
mod system;

use std::{io::BufRead, net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use meshup_benches::{
    committed,
    in_process::{self, Chain, HEADER_FILTER, Served, chains, configuration},
    load::{Clients, Load},
    origin,
    peers::{self, Peer, Protocol, Setup},
    process::{ending, free_address},
};

use crate::{
    gate::{All, Taken},
    system::Calls,
};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Allocations and system calls per proxied request.
#[derive(Parser)]
struct Arguments {
    /// Requests that are counted.
    #[arg(long, default_value_t = 3_200, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Show where allocations come from, of so many requests.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    sites: Option<u32>,
    /// Only this scenario.
    #[arg(long, value_parser = chains(HEADER_FILTER).into_iter().map(|(name, _)| name).collect::<Vec<_>>())]
    only: Option<String>,
    /// Fail if a request takes more than this file says, by one of either for every second request.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Write what a request takes to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    write: Option<PathBuf>,
    /// Be the proxy, with the configuration in this file.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

const PROTOCOLS: [(Protocol, &str); 2] = [(Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2")];
/// Requests at a time: over connections, or over streams of one.
const AT_A_TIME: [usize; 2] = [1, 16];
const WARM_UP: usize = 320;
/// Where nginx runs.
const CORE: usize = 0;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(config) = arguments.serve {
        return serve(config);
    }
    let _files = ending::with_children()?;
    let origin = origin::start(Protocol::Http1)?;
    let is_gate = arguments.check.is_some() || arguments.write.is_some();
    let nginx = if is_gate { None } else { peers::nginx() };
    let mut all = All::new();
    for (protocol, protocol_name) in PROTOCOLS {
        // With several at a time, how much is there at each look depends on the machine.
        for at_a_time in AT_A_TIME.into_iter().filter(|count| !is_gate || *count == 1) {
            let load = format!("{protocol_name}, {at_a_time} at a time");
            println!("{load}");
            let run = Run { arguments: &arguments, origin, protocol, at_a_time };
            for (name, chain) in chains(HEADER_FILTER) {
                if arguments.only.as_deref().is_none_or(|only| only == name) {
                    all.insert(format!("{load}, {name}"), run.meshup(name, &chain)?);
                }
            }
            nginx.as_ref().map(|nginx| run.nginx(nginx)).transpose()?;
        }
    }
    if let Some(file) = &arguments.write {
        gate::write(file, &all)?;
    }
    if let Some(file) = &arguments.check {
        let committed = committed::read(file)?;
        let mut faults = gate::faults(&committed, &all);
        if arguments.only.is_none() {
            faults += &committed::unmeasured(&committed, &all);
        }
        ensure!(faults.is_empty(), "more than {} allows:\n{faults}", file.display());
    }
    Ok(())
}

/// One kind of load.
struct Run<'a> {
    arguments: &'a Arguments,
    origin: SocketAddr,
    protocol: Protocol,
    at_a_time: usize,
}

impl Run<'_> {
    fn clients(&self, address: SocketAddr) -> Result<Clients> {
        Clients::connect(&Load::small(self.protocol, self.at_a_time), address)
    }

    fn meshup(&self, name: &str, chain: &Chain) -> Result<Taken> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("meshup.toml");
        std::fs::write(&file, configuration(self.origin, chain))?;
        let mut proxy = Served::start(Command::new(std::env::current_exe()?), &file)?;
        let mut clients = self.clients(proxy.address)?;
        clients.run_in_rounds(WARM_UP)?;
        let requests = self.arguments.requests as usize;
        let before = counts(&mut proxy)?;
        clients.run_in_rounds(requests)?;
        let after = counts(&mut proxy)?;
        let of_request = |at: usize| (after[at] - before[at]) as f64 / requests as f64;
        let (new, grown, bytes) = (of_request(0), of_request(1), of_request(2));
        println!("  {name:<18} {new:>6.2} blocks  {grown:>5.2} resized  {bytes:>7.0} bytes");
        if let Some(requests) = self.arguments.sites {
            proxy.ask("record")?;
            clients.run_in_rounds(requests as usize)?;
            print!("{}", proxy.ask(&format!("sites {requests}"))?);
        }
        let calls = system::count(&[proxy.id()], folder.path(), || clients.run_in_rounds(requests))?;
        println!("  {name:<18} {}", of_each(&calls, requests));
        let counted = calls.iter().filter(|(name, _)| *name != system::WAITING).map(|(_, count)| count);
        Ok(Taken { blocks: new + grown, system_calls: counted.sum::<u64>() as f64 / requests as f64 })
    }

    fn nginx(&self, nginx: &Peer) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let plain = Setup::plain(free_address()?, self.origin, folder.path());
        let setup = Setup { down: self.protocol, ..plain };
        let nginx = nginx.start(&setup, CORE).context("nginx")?.context("nginx cannot forward")?;
        let mut clients = self.clients(nginx.address)?;
        clients.run_in_rounds(WARM_UP)?;
        let requests = self.arguments.requests as usize;
        let calls = system::count(&nginx.family()?, folder.path(), || clients.run_in_rounds(requests))?;
        println!("  {:<18} {}", "nginx", of_each(&calls, requests));
        Ok(())
    }
}

/// The sum, and every call that at least one in a hundred requests makes.
fn of_each(calls: &Calls, requests: usize) -> String {
    let of_request = |count: u64| count as f64 / requests as f64;
    let mut calls: Vec<_> = calls.iter().map(|(name, count)| (name, of_request(*count))).collect();
    calls.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let sum: f64 = calls.iter().map(|(_, count)| count).sum();
    let listed = calls.iter().filter(|(_, count)| *count >= 0.01).map(|(name, count)| format!("{name} {count:.2}"));
    format!("{sum:>6.2} system calls: {}", listed.collect::<Vec<_>>().join(", "))
}

fn counts(proxy: &mut Served) -> Result<Vec<u64>> {
    let answer = proxy.ask("counts")?;
    answer.split_whitespace().map(|count| count.parse().context("a count")).collect()
}

/// In the proxy's process: answers until nobody asks any more.
fn serve(config: PathBuf) -> Result<()> {
    let _app = in_process::serve(config)?;
    for question in std::io::stdin().lock().lines() {
        println!("{}\n", answer(&question?)?);
    }
    Ok(())
}

fn answer(question: &str) -> Result<String> {
    Ok(match question.split_once(' ') {
        None if question == "counts" => allocations::counts().map(|count| count.to_string()).join(" "),
        None => {
            allocations::record();
            "recording".to_owned()
        }
        Some((_, requests)) => sites::list(allocations::recorded(), requests.parse()?),
    })
}
