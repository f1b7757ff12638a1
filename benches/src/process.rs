//! Processes of this comparison: pinned to a core, awaited, their CPU time read, and ended.
//!
//! **Invariant:** a process started here does not outlive its [`Running`].

use std::{
    fs::{self, File},
    io::{self, Seek},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_setaffinity},
};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A server process that accepts connections.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    /// Its standard error.
    said: File,
}

impl Running {
    /// Starts `command`, which listens on `address`, and waits until it does.
    pub fn start_on(address: SocketAddr, command: &Command, cores: &[usize]) -> Result<Self> {
        let said = tempfile::tempfile()?;
        let mut command = pinned(command, cores);
        command.stderr(said.try_clone()?);
        let child = command.spawn().with_context(|| format!("{}", command.get_program().display()))?;
        let mut running = Self { address, child, said };
        running.wait_until_it_accepts()?;
        Ok(running)
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once, with {status}: {}", self.said()?);
            }
            if Instant::now() > deadline {
                bail!("it does not listen on {} after {START_DEADLINE:?}", self.address);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn said(&mut self) -> Result<String> {
        self.said.rewind()?;
        Ok(io::read_to_string(&mut self.said)?)
    }

    /// User and system time so far, of all threads and of all processes that it started and that still run.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stats = stats()?;
        let family = descendants(self.child.id(), &stats);
        let ticks: u64 = stats.iter().filter(|stat| family.contains(&stat.id)).map(|stat| stat.ticks).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// The ids of the process and of all that it started and that still run.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn family(&self) -> Result<Vec<u32>> {
        Ok(descendants(self.child.id(), &stats()?))
    }

    /// Memory of the process and of all that it started and that still run; what several share counts once.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn resident_bytes(&self) -> Result<u64> {
        let mut kibibytes = 0;
        for id in self.family()? {
            let memory = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
            let line = memory.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
            kibibytes += line.trim().trim_end_matches(" kB").parse::<u64>()?;
        }
        Ok(kibibytes * 1024)
    }

    /// Ends it in good order.
    ///
    /// # Errors
    ///
    /// It ended badly.
    pub fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}: {}", self.said()?);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        // SIGTERM, for a master process to end its workers; SIGKILL would leave them behind.
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + STOP_DEADLINE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        self.stop().ok();
    }
}

/// This program again.
pub fn this_program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

/// An address on loopback that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// `command`, confined to some cores, if any are given; `taskset` replaces itself by the program, so the process id is the
/// program's.
pub fn pinned(command: &Command, cores: &[usize]) -> Command {
    let program = command.get_program();
    let mut pinned = Command::new(if cores.is_empty() { program } else { "taskset".as_ref() });
    if !cores.is_empty() {
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        pinned.arg("-c").arg(cores.join(",")).arg(program);
    }
    pinned.args(command.get_args()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    pinned.stdin(Stdio::null()).stdout(Stdio::null());
    pinned
}

/// Confines this program to one core.
///
/// # Errors
///
/// There is no such core.
pub fn pin_self(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// A process and all that it started, and so on.
fn descendants(ancestor: u32, stats: &[Stat]) -> Vec<u32> {
    let mut family = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(stats.iter().filter(|stat| stat.parent == parent).map(|stat| stat.id));
        next += 1;
    }
    family
}

/// One line of `/proc/ID/stat`, proc_pid_stat(5).
struct Stat {
    id: u32,
    parent: u32,
    ticks: u64,
}

fn stats() -> Result<Vec<Stat>> {
    let processes = fs::read_dir("/proc")?.flatten();
    // A process may end between listing and reading.
    Ok(processes.filter_map(|process| parse_stat(&fs::read_to_string(process.path().join("stat")).ok()?)).collect())
}

/// The second field, the name in parentheses, may hold anything; the fields behind it are counted from 3.
fn parse_stat(line: &str) -> Option<Stat> {
    let (id, _) = line.split_once(' ')?;
    let (_, rest) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat { id: id.parse().ok()?, parent: field(4)?.try_into().ok()?, ticks: field(14)? + field(15)? })
}

#[cfg(test)]
mod tests {
    use super::parse_stat;

    #[test]
    fn stat_lines_are_read_past_odd_names() {
        let stat = parse_stat("42 (a b) c) S 7 1 1 0 -1 0 0 0 0 0 1500 250 9 9 20 0").unwrap();
        assert_eq!((stat.id, stat.parent, stat.ticks), (42, 7, 1750));
    }
}
