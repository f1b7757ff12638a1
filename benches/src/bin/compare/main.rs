//! What one proxied request costs: meshup beside other proxies, on this machine, in the same minutes.
//!
//! One origin, one load generator and one proxy at a time, all on loopback. The proxy has the first core for itself;
//! origin and load share the second, and where times are what counts, a thread. The first figure is the CPU time of the
//! proxy's processes divided by the requests answered, so it does not depend on which core is the bottleneck; rates and
//! times do. The proxies take turns for some rounds, so that a disturbance meets all of them.
//!
//! It is no test: nothing fails when a figure is bad, only when there is none of meshup.
//!
//! **Invariant:** every proxy is given the same requests, and is configured to do the same with them.

mod measure;
mod plot;
mod scenario;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use meshup_benches::{
    machine, origin,
    peers::{self, Filters, Peer, Protocol},
    process::{ending, pin_self},
    turns::{Turns, target_folder},
};

use crate::{
    measure::Bench,
    scenario::{SCENARIOS, Scenario},
    table::Table,
};

/// Where the proxy under test runs.
const PROXY_CORE: usize = 0;
/// Where origin and load generator run.
const LOAD_CORE: usize = 1;

/// What a proxied request costs, side by side with other proxies.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    turns: Turns,
    /// So many connections of HTTP/1.1 that send requests, rather than what each scenario has.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    connections: Option<u16>,
    /// Only these scenarios, by name.
    #[arg(long, value_delimiter = ',', value_parser = SCENARIOS.map(|scenario| scenario.name))]
    scenarios: Vec<String>,
    /// Only these proxies, by name.
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// Where the table and the plot go; by default the folder `bench` of the target folder.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Be the origin.
    #[arg(long, hide = true)]
    origin: Option<Speaks>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Speaks {
    Http1,
    Http2,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.origin {
        Some(Speaks::Http1) => origin::serve(Protocol::Http1, 1),
        Some(Speaks::Http2) => origin::serve(Protocol::Http2, 1),
        None => compare(&arguments),
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let _machine = machine::reserve()?;
    let _files = ending::with_children()?;
    let target = target_folder()?;
    let output = arguments.output.clone().unwrap_or_else(|| target.join("bench"));
    fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
    let mut peers = peers::present(&arguments.turns.meshup()?, &target);
    for name in &arguments.proxies {
        ensure!(peers.iter().any(|peer| peer.name == name), "{name} is none of the proxies that are here");
    }
    peers.retain(|peer| arguments.proxies.is_empty() || arguments.proxies.iter().any(|name| name == peer.name));
    ensure!(!peers.is_empty(), "no proxy to measure");
    pin_self(&[LOAD_CORE])?;
    let bench = Bench::new(arguments.turns.duration(), arguments.connections.map(usize::from))?;
    let scenarios = SCENARIOS.iter().filter(|scenario| is_wanted(arguments, scenario));
    let tables: Vec<Table> =
        scenarios.map(|scenario| run(&bench, scenario, &peers, arguments.turns.rounds())).collect();
    report(&tables, &notes(arguments, &peers), &output)?;
    ensure_measured(&tables)
}

/// Where the figures come from.
fn notes(arguments: &Arguments, peers: &[Peer]) -> [String; 2] {
    let versions: Vec<String> = peers.iter().map(Peer::title).collect();
    let connections = arguments.connections.map_or(String::new(), |count| format!(", over {count} connections"));
    let turns = format!("{}{connections}; {}.", arguments.turns.description(), versions.join(", "));
    [format!("{}.", machine::here_and_now()), turns]
}

/// meshup is what it is all about: a run without it is none.
fn ensure_measured(tables: &[Table]) -> Result<()> {
    let rows = tables.iter().flat_map(|table| table.rows.iter().map(move |row| (table.title, row)));
    let missing = rows.filter(|(_, row)| row.is_ours() && row.micros().is_none());
    let missing: Vec<String> = missing.map(|(title, row)| format!("{} at \"{title}\"", row.name)).collect();
    ensure!(missing.is_empty(), "not measured: {}", missing.join(", "));
    Ok(())
}

fn is_wanted(arguments: &Arguments, scenario: &Scenario) -> bool {
    arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|name| name == scenario.name)
}

/// All turns of one scenario; says them as soon as they are over.
fn run(bench: &Bench, scenario: &Scenario, peers: &[Peer], rounds: usize) -> Table {
    let mut table = Table::new(scenario.title);
    for round in 1..=rounds {
        eprintln!("{}: round {round} of {rounds}", scenario.name);
        // Each round begins with another: whatever wears off or comes up meanwhile falls to all alike.
        for peer in peers.iter().cycle().skip(round - 1).take(peers.len()) {
            for filters in scenario.filters {
                let name = row_name(peer, *filters);
                match bench.measure(peer, scenario, *filters) {
                    Ok(Some(sample)) => table.add(&name, sample),
                    Ok(None) => {}
                    Err(error) => {
                        eprintln!("{name}: {error:#}");
                        table.fail(&name, &format!("{error:#}"));
                    }
                }
            }
        }
    }
    println!("{table}");
    table
}

fn row_name(peer: &Peer, filters: Filters) -> String {
    let name = peer.name;
    match filters {
        Filters::None => name.into(),
        Filters::Directives => format!("{name}, 3 directives"),
        Filters::Lua => format!("{name}, 3 in Lua"),
        Filters::Wasm => format!("{name}, 3 filters"),
        Filters::Headers(count) => format!("{name}, {count} header filters"),
        Filters::Pass(count) => format!("{name}, {count} empty filters"),
    }
}

/// What the reader of a table has to know.
const LEGEND: &str =
    "Medians over the rounds; `x nginx` is that of the rounds' own ratios. `p99 added` (ms) is the difference to the
same requests without a proxy, right after and at the same rate; what filters add is a row's less that of the same proxy
without filters. There p50 and p99 are those of the median tenth of a second, and p99.9 is of all requests.";

fn report(tables: &[Table], notes: &[String], output: &Path) -> Result<()> {
    let tables_as_text: String = tables.iter().map(Table::to_string).collect();
    let text =
        format!("# What a request costs, beside other proxies\n\n{}\n\n{LEGEND}\n{tables_as_text}", notes.join("\n"));
    let (table, plot) = (output.join("compare.md"), output.join("compare.svg"));
    fs::write(&table, text).with_context(|| table.display().to_string())?;
    plot::write(tables, notes, &plot).with_context(|| plot.display().to_string())?;
    println!("{}\n{}", table.display(), plot.display());
    Ok(())
}
