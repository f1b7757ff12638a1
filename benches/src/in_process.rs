//! The proxy as a library in a process of its own, which is the same program started again: what is counted in it is the
//! proxy alone, not the load and not the origin.
//!
//! **Invariant:** the process ends with the value that stands for it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result};
use meshup::{App, Options, Source, wasm::Compiler};

use crate::{
    peers::{MESHUP_THREE, Setup, meshup_configuration},
    process::{spawn, terminate},
};

/// In the process: starts the proxy with the configuration in a file, filters compiled in process, and says where it
/// listens.
pub fn serve(config: PathBuf) -> Result<App> {
    let compiler = Compiler::InProcess;
    let options = Options { source: Source::File(config), cache_dir: None, compiler, watch_files: false };
    let app = App::start(options)?;
    println!("{}", app.listeners().first().context("no listener")?.1);
    Ok(app)
}

/// The process, from outside.
pub struct Served {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Served {
    /// Runs `command`, which is this program or a tool that runs this program, with `--serve CONFIG`.
    pub fn start(mut command: Command, config: &Path) -> Result<Self> {
        command.arg("--serve").arg(config).env("RUST_LOG", "off");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(&mut command, &[])?;
        let stdin = child.stdin.take().context("no input")?;
        let mut stdout = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the proxy said {line:?}"))?;
        Ok(Self { address, child, stdin, stdout })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends the process a line and gives back its answer, which ends with an empty line.
    pub fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.stdin, "{question}")?;
        let mut answer = String::new();
        while !answer.ends_with("\n\n") {
            let read = self.stdout.read_line(&mut answer)?;
            anyhow::ensure!(read > 0 && answer != "\n", "the proxy did not answer {question:?}");
        }
        Ok(answer)
    }

    /// Ends it in good order.
    pub fn end(&mut self) -> Result<()> {
        terminate(&mut self.child)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        self.end().ok();
    }
}

/// What stands in the table of a filter that changes the headers of requests and responses.
pub const HEADER_FILTER: &str = "module = \"builtin:rewrite\"
config.request_headers = { set = { x-zone = \"eu-1\" }, remove = [\"upgrade-insecure-requests\"] }
config.response_headers = { set = { x-served-by = \"meshup\" } }";

/// A configuration of one worker whose one route has these filters.
#[must_use]
pub fn configuration(origin: SocketAddr, chain: &Chain) -> String {
    let setup = Setup::plain((Ipv4Addr::LOCALHOST, 0).into(), origin, Path::new(""));
    meshup_configuration(&setup, chain)
}

/// The filters of a route: each one's name, and what stands in its table.
pub type Chain = Vec<(String, String)>;

/// What is counted, by name: filters with this `table`, and the three of the side-by-side comparison.
#[must_use]
pub fn chains(table: &str) -> [(&'static str, Chain); 4] {
    let alike = |count| (1..=count).map(|number| (format!("f{number}"), table.to_owned())).collect();
    [
        ("no filters", Chain::new()),
        ("1 header filter", alike(1)),
        ("3 header filters", alike(3)),
        ("3 bundled filters", MESHUP_THREE.map(|(name, table)| (name.to_owned(), table.to_owned())).into()),
    ]
}
