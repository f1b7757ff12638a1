//! Processes of this comparison: pinned to a core, awaited, their CPU time read, and ended.
//!
//! **Invariant:** a process started here does not outlive its [`Running`].

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const START_DEADLINE: Duration = Duration::from_secs(10);
const STOP_DEADLINE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A server process that accepts connections.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl Running {
    /// Starts `command` with the address to listen on as its last argument.
    pub fn start(command: &mut Command, core: usize) -> Result<Self> {
        let address = free_address()?;
        Self::start_on(address, command.arg(address.to_string()), core)
    }

    /// Starts `command`, which listens on `address`, and waits until it does.
    pub fn start_on(address: SocketAddr, command: &Command, core: usize) -> Result<Self> {
        let child = pinned(command, core).spawn().with_context(|| format!("{}", command.get_program().display()))?;
        let mut running = Self { address, child };
        running.wait_until_it_accepts()?;
        Ok(running)
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if Instant::now() > deadline {
                bail!("it does not listen on {} after {START_DEADLINE:?}", self.address);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// User and system time so far, of all threads and of all processes that it started and that still run.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut ticks = 0;
        let mut family = vec![self.child.id()];
        let stats = stats()?;
        while let Some(id) = family.pop() {
            ticks += stats.iter().filter(|stat| stat.id == id).map(|stat| stat.ticks).sum::<u64>();
            family.extend(stats.iter().filter(|stat| stat.parent == id).map(|stat| stat.id));
        }
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
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

/// `command`, confined to one core; `taskset` replaces itself by the program, so the process id is the program's.
pub fn pinned(command: &Command, core: usize) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.arg("-c").arg(core.to_string()).arg(command.get_program()).args(command.get_args());
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    pinned.stdin(Stdio::null()).stdout(Stdio::null());
    pinned
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
