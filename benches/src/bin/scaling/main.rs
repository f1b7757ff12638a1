//! What a proxied request costs meshup as there is more of one thing: connections, routes, filters, endpoints, header
//! fields, workers.
//!
//! Every point is a process of its own, and the points of an axis take turns, so that a disturbance meets all of them. A
//! figure is the CPU time of the process divided by the requests answered, and its resident memory.
//!
//! More workers shall do more work: how much more, two cores cannot show where origin and clients need one of them. What a
//! request costs shows it: workers who stand in each other's way need more CPU time for the same.
//!
//! **Invariant:** between two points of an axis nothing differs but that one amount.

mod point;
mod report;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use meshup_benches::{
    load::{Clients, Pace},
    machine, modules,
    origin::{self, Origin},
    peers::Protocol,
    process::{Running, ending, free_address, pin_self, this_program},
    turns::{Turns, WARM_UP, target_folder},
};

use crate::{
    point::{Axis, Point},
    report::{Sample, Series},
};

/// Where the proxy runs, unless it has more than one worker.
const PROXY_CORE: usize = 0;
/// Where origin and load generator run.
const LOAD_CORE: usize = 1;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    turns: Turns,
    /// Only these axes.
    #[arg(long, value_delimiter = ',', value_parser = Axis::ALL.map(Axis::name))]
    axes: Vec<String>,
    /// Be the origin, on so many addresses.
    #[arg(long, hide = true)]
    origin: Option<usize>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.origin {
        Some(addresses) => origin::serve(Protocol::Http1, addresses),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let _machine = machine::reserve()?;
    let _files = ending::with_children()?;
    let target = target_folder()?;
    let bench = Bench {
        meshup: arguments.turns.meshup()?,
        module: modules::meshup_filter(&target)?,
        origin: Origin::start(this_program()?.args(["--origin", "1000"]), LOAD_CORE)?,
        duration: arguments.turns.duration(),
    };
    pin_self(&[LOAD_CORE])?;
    let is_wanted = |axis: &Axis| arguments.axes.is_empty() || arguments.axes.iter().any(|name| name == axis.name());
    let axes = Axis::ALL.into_iter().filter(is_wanted);
    let series = axes.map(|axis| bench.axis(axis, arguments.turns.rounds())).collect::<Result<Vec<_>>>()?;
    let note = format!("{}; {}.", machine::here_and_now(), arguments.turns.description());
    report::write(&series, &note, &target.join("bench"))
}

/// What all turns share.
struct Bench {
    meshup: PathBuf,
    module: PathBuf,
    origin: Origin,
    duration: Duration,
}

impl Bench {
    fn axis(&self, axis: Axis, rounds: usize) -> Result<Series> {
        let mut series = Series::new(axis);
        for round in 1..=rounds {
            eprintln!("{}: round {round} of {rounds}", axis.name());
            for amount in axis.amounts() {
                series.add(*amount, self.turn(Point { axis, amount: *amount })?);
            }
        }
        println!("{series}");
        Ok(series)
    }

    fn turn(&self, point: Point) -> Result<Sample> {
        let folder = tempfile::tempdir()?;
        let proxy = self.start(point, folder.path())?;
        let mut clients = Clients::connect(&point.load(), proxy.address)?;
        clients.run(Pace::For(WARM_UP))?;
        let before = proxy.cpu_time()?;
        let outcome = clients.run(Pace::For(self.duration))?;
        let cpu = proxy.cpu_time()?.saturating_sub(before);
        Ok(Sample { cpu_per_request: cpu.div_f64(outcome.requests() as f64), resident_bytes: proxy.resident_bytes()? })
    }

    fn start(&self, point: Point, folder: &Path) -> Result<Running> {
        let address = free_address()?;
        let endpoints: Vec<SocketAddr> = self.origin.addresses(point.endpoints()).collect();
        let file = folder.join("meshup.toml");
        fs::write(&file, point.configuration(address, &endpoints, &self.module))?;
        let mut command = Command::new(&self.meshup);
        command.args(["run", "--config"]).arg(file).env("RUST_LOG", "warn");
        match point.workers() {
            1 => Running::start_on(address, &mut command, &[PROXY_CORE]),
            _ => Running::start_on(address, &mut command, &[PROXY_CORE, LOAD_CORE]),
        }
    }
}
