//! How many instructions the proxy executes for one request: counted by callgrind, so that a noisy machine counts the
//! same as a quiet one.
//!
//! The program starts itself under valgrind as the proxy (the library, filters compiled in process), sends it requests
//! over kept-alive connections, and counts only while they are under way. What the kernel does is not counted.
//!
//! **Invariant:** only processes started here are signalled, by their own id.

mod gate;
mod load;
mod profile;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use meshup::{App, Options, Source, wasm::Compiler};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    gate::{Cost, Costs},
    load::{Load, Origin},
};

// As in the `meshup` binary.
#[global_allocator]
static ALLOCATOR: meshup::Allocator = meshup::Allocator;

/// Instructions per proxied request, under callgrind.
#[derive(Parser)]
struct Arguments {
    /// Requests that are counted.
    #[arg(long, default_value_t = 2_000)]
    requests: usize,
    /// Kept-alive connections to the proxy.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Show where they go: so many functions.
    #[arg(long, default_value_t = 0)]
    functions: usize,
    /// The header filters' module: `builtin:rewrite`, or the path of a .wasm that takes the same configuration or ignores it.
    #[arg(long, default_value = "builtin:rewrite")]
    module: String,
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
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Be the proxy, with the configuration in this file.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

/// What is counted, and the filters of its route.
const SCENARIOS: [(&str, usize); 3] = [("no filters", 0), ("1 header filter", 1), ("3 header filters", 3)];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(config) = arguments.serve {
        return serve(config);
    }
    let origin = Origin::start()?;
    let mut costs = Costs::new();
    for (name, filters) in SCENARIOS {
        if arguments.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let folder = arguments.keep.as_deref().unwrap_or(folder.path());
        let profile = count(&arguments, &configuration(origin.address, filters, &arguments.module), folder)?;
        let requests = arguments.requests as u64;
        let cost = Cost { total: profile::total(&profile)? / requests, parts: profile::parts(&profile, requests)? };
        println!("{name:<20} {:>8} instructions/request", cost.total);
        if arguments.functions > 0 {
            println!("{}", profile::functions(&profile, arguments.functions, requests)?);
        }
        costs.insert(name.to_owned(), cost);
    }
    if let Some(file) = &arguments.write {
        gate::write(file, &costs)?;
    }
    if let Some(file) = &arguments.check {
        let faults = gate::faults(&gate::read(file)?, &costs);
        ensure!(faults.is_empty(), "more than {} allows:\n{faults}", file.display());
    }
    Ok(())
}

/// Runs the proxy until it is told to end.
fn serve(config: PathBuf) -> Result<()> {
    let compiler = Compiler::InProcess;
    let options = Options { source: Source::File(config), cache_dir: None, compiler, watch_files: false };
    let app = App::start(options)?;
    println!("{}", app.listeners().first().context("no listener")?.1);
    loop {
        std::thread::park();
    }
}

/// Counts one scenario; the file with callgrind's result.
fn count(arguments: &Arguments, config: &str, folder: &Path) -> Result<PathBuf> {
    let file = folder.join("meshup.toml");
    std::fs::write(&file, config)?;
    let output = folder.join("callgrind.out");
    let mut proxy = Proxy::start(&file, &output)?;
    let mut load = Load::connect(proxy.address, arguments.connections)?;
    load.run(200)?;
    proxy.instrument("on")?;
    load.run(arguments.requests)?;
    proxy.instrument("off")?;
    proxy.end()?;
    Ok(output)
}

/// The proxy under valgrind.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(config: &Path, output: &Path) -> Result<Self> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--instr-atstart=no", "--quiet"]);
        command.arg(format!("--callgrind-out-file={}", output.display()));
        command.arg(std::env::current_exe()?).arg("--serve").arg(config);
        command.env("RUST_LOG", "off").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("valgrind: apt-get install valgrind")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the proxy said {line:?}"))?;
        Ok(Self { child, address })
    }

    fn instrument(&self, how: &str) -> Result<()> {
        let id = self.child.id().to_string();
        let output = Command::new("callgrind_control").args(["-i", how, &id]).output()?;
        ensure!(output.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        self.end().ok();
    }
}

const HEADER_FILTER: &str =
    "config.request_headers = { set = { x-zone = \"eu-1\" }, remove = [\"upgrade-insecure-requests\"] }
config.response_headers = { set = { x-served-by = \"meshup\" } }";

fn configuration(origin: SocketAddr, filters: usize, module: &str) -> String {
    let names: Vec<String> = (1..=filters).map(|number| format!("f{number}")).collect();
    let tables: String =
        names.iter().map(|name| format!("[filters.{name}]\nmodule = {module:?}\n{HEADER_FILTER}\n")).collect();
    format!(
        "workers = 1
[admin]
listen = \"127.0.0.1:0\"
[[listeners]]
name = \"http\"
listen = \"127.0.0.1:0\"
{tables}
[[routes]]
name = \"all\"
match = {{ path_prefix = \"/\" }}
filters = {names:?}
upstream = \"origin\"
[upstreams.origin]
endpoints = [\"{origin}\"]
"
    )
}
