//! Processes of this comparison: pinned to a core, awaited, their CPU time read, and ended.
//!
//! **Invariant:** a process started here does not outlive its [`Running`].

pub mod ending;
mod family;

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// For what writes down what it found first, perhaps under valgrind.
const END_DEADLINE: Duration = Duration::from_secs(60);
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
    pub fn start_on(address: SocketAddr, command: &mut Command, cores: &[usize]) -> Result<Self> {
        let said = tempfile::tempfile()?;
        let child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?), cores)?;
        let mut running = Self { address, child, said };
        running.wait_until_it_accepts()?;
        Ok(running)
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once with {status}; it said: {}", self.said()?);
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
        let said = io::read_to_string(&mut self.said)?;
        Ok(if said.is_empty() { "nothing".into() } else { said })
    }

    /// User and system time so far, of all threads and of all processes that it started and that still run.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn cpu_time(&self) -> Result<Duration> {
        let ticks: u64 = family::of(self.child.id())?.iter().map(|stat| stat.ticks).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// The ids of the process and of all that it started and that still run.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn family(&self) -> Result<Vec<u32>> {
        Ok(family::of(self.child.id())?.iter().map(|stat| stat.id).collect())
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
    /// It ended badly, or had to be killed.
    pub fn end(mut self) -> Result<()> {
        let status = self.stop(END_DEADLINE)?;
        ensure!(status.success(), "it ended with {status}; it said: {}", self.said()?);
        Ok(())
    }

    fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        // SIGTERM, for a master process to end its workers; SIGKILL would leave them behind.
        terminate(&mut self.child)?;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(ending::not_now());
        // An error here means that it is gone already.
        self.stop(STOP_DEADLINE).ok();
    }
}

/// Asks it to end, unless it has ended: its id may be another's by now.
pub(crate) fn terminate(child: &mut Child) -> Result<()> {
    if child.try_wait()?.is_none() {
        kill_process(Pid::from_child(child), Signal::TERM)?;
    }
    Ok(())
}

/// What `command`, which is to end by itself and soon, says on both of its outputs.
///
/// # Errors
///
/// It cannot be started, or goes on after the deadline: then it is killed.
pub(crate) fn said_soon(command: &mut Command) -> Result<String> {
    let mut said = tempfile::tempfile()?;
    let mut child = spawn(command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?), &[])?;
    let deadline = Instant::now() + STOP_DEADLINE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{} goes on after {STOP_DEADLINE:?}", command.get_program().display());
        }
        thread::sleep(POLL_INTERVAL);
    }
    said.rewind()?;
    let mut bytes = Vec::new();
    said.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// This program again.
pub fn this_program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

/// An address on loopback that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Starts `command` on some cores, or where this thread may run if none are given.
///
/// # Errors
///
/// There is no such program or core.
pub fn spawn(command: &mut Command, cores: &[usize]) -> Result<Child> {
    let _turn = ending::not_now();
    // A process begins where the thread that starts it may run.
    let own = sched_getaffinity(None)?;
    if !cores.is_empty() {
        pin_self(cores)?;
    }
    let child = command.spawn();
    sched_setaffinity(None, &own)?;
    child.with_context(|| format!("{}", command.get_program().display()))
}

/// Confines this thread, and those that it starts, to some cores.
///
/// # Errors
///
/// There is no such core.
pub fn pin_self(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).with_context(|| format!("this machine has no cores {cores:?} for it to run on"))
}
