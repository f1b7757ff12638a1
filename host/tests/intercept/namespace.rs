//! Two network namespaces and a cable between them. Nothing of them has a name: they end with the processes in them, and
//! those with the test.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// An application's namespace and an origin's.
pub(crate) struct Network {
    pub(crate) application: Namespace,
    pub(crate) origin: Namespace,
}

/// A network namespace, which lives as long as a process that waits in it.
pub(crate) struct Namespace(Child);

/// The network, if this machine lets the test make it and has the packet filter's `tool`.
pub(crate) fn network(tool: &str) -> Option<Network> {
    match try_network(tool) {
        Ok(network) => Some(network),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn try_network(tool: &str) -> Result<Network, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root, because the proxy runs under another user than the application".into());
    }
    for program in ["ip", "nsenter", "unshare", "setpriv", tool] {
        succeeds(Command::new(program).arg("--version"))
            .or_else(|_| succeeds(Command::new(program).arg("-V")))
            .map_err(|_| format!("`{program}` is missing"))?;
    }
    let (application, origin) = (Namespace::new()?, Namespace::new()?);
    let peer = origin.0.id().to_string();
    application.ip(&["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &peer])?;
    application.set_up(1)?;
    origin.set_up(2)?;
    let network = Network { application, origin };
    let nat: &[&str] = match tool {
        "nft" => &["add", "table", "inet", "probe", "{ chain c { type nat hook output priority -100; }; }"],
        _ => &["-t", "nat", "-S"],
    };
    succeeds(network.application.command(tool).args(nat))
        .map_err(|error| format!("`{tool}` does not work: {error}"))?;
    if tool == "nft" {
        succeeds(network.application.command(tool).args(["delete", "table", "inet", "probe"]))?;
    }
    Ok(network)
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(said()) }
}

impl Namespace {
    fn new() -> Result<Self, String> {
        // It ends when its input does: with this process.
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let output = holder.stdout.take().ok_or("the namespace's process has no output")?;
        _ = BufReader::new(output).read_line(&mut line);
        let namespace = Self(holder);
        if line == "ready\n" { Ok(namespace) } else { Err("no network namespace can be made here".into()) }
    }

    fn set_up(&self, number: u8) -> Result<(), String> {
        self.ip(&["link", "set", "lo", "up"])?;
        self.ip(&["addr", "add", &format!("10.77.0.{number}/24"), "dev", "cable"])?;
        // Without `nodad` the address could not be used for a second or two.
        self.ip(&["addr", "add", &format!("fd77::{number}/64"), "dev", "cable", "nodad"])?;
        self.ip(&["link", "set", "cable", "up"])
    }

    fn ip(&self, args: &[&str]) -> Result<(), String> {
        succeeds(self.command("ip").args(args)).map_err(|error| format!("ip {}: {error}", args.join(" ")))
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// A command that will run in the namespace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).args(["--", program]);
        command
    }

    /// Does something on a thread within the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).unwrap();
        let enter = || move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter();
                work()
            });
            worker.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
