//! System calls of a process, counted by strace, which attaches itself for a while.
//!
//! strace slows the process down, so that more of what arrives is there when it looks: of calls that wait for several
//! connections at once, a faster process makes a few more.
//!
//! **Invariant:** strace is gone when a count is there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use meshup_benches::process::spawn;
use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(5);

/// The call that waits for several connections at once: how many it finds depends on how fast the others are.
pub(crate) const WAITING: &str = "epoll_wait";
/// What is done as time goes by, whatever the requests: the clock that bounds filters ticks, and the allocator gives memory
/// back.
const TIMED: [&str; 2] = ["clock_nanosleep", "madvise"];

/// Counts by the name of the call.
pub(crate) type Calls = BTreeMap<String, u64>;

/// The calls that all threads of the processes make for `work`.
pub(crate) fn count(processes: &[u32], folder: &Path, work: impl FnOnce() -> Result<()>) -> Result<Calls> {
    let file = folder.join("strace");
    let mut strace = attach(processes, &file)?;
    let done = work();
    kill_process(Pid::from_child(&strace), Signal::INT)?;
    strace.wait()?;
    done?;
    let calls = parse(&fs::read_to_string(&file)?);
    ensure!(!calls.is_empty(), "strace counted nothing; it may need CAP_SYS_PTRACE");
    Ok(calls)
}

/// Returns when strace has its hands on the process.
fn attach(processes: &[u32], output: &Path) -> Result<Child> {
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(output);
    command.args(processes.iter().flat_map(|process| ["-p".to_owned(), process.to_string()]));
    // A file: strace writes a line for each process, and a pipe that nobody reads from any more would end it.
    let said = output.with_extension("said");
    let mut strace = spawn(command.stderr(File::create(&said)?), &[]).context("apt-get install strace")?;
    let started = Instant::now();
    while !are_traced(processes)? {
        let ended = strace.try_wait()?.is_some();
        if ended || started.elapsed() > DEADLINE {
            strace.kill()?;
            strace.wait()?;
            bail!("strace does not get hold of every thread: {}", fs::read_to_string(&said)?.trim());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(strace)
}

/// Whether every thread has a tracer, proc_pid_status(5).
fn are_traced(processes: &[u32]) -> Result<bool> {
    let mut threads = Vec::new();
    for process in processes {
        threads.extend(fs::read_dir(format!("/proc/{process}/task"))?.flatten());
    }
    let mut statuses = threads.iter().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    Ok(statuses.all(|status| !status.contains("TracerPid:\t0\n")))
}

/// The table of `strace -c`: `% time, seconds, usecs/call, calls, errors, syscall`; errors are left out where there are none.
fn parse(table: &str) -> Calls {
    let rows = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, count) = (*fields.last()?, fields.get(3)?.parse().ok()?);
        (name != "total" && !TIMED.contains(&name)).then(|| (name.to_owned(), count))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_table_is_read_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            51.95    0.000013           0       200           sendto\n \
            48.05    0.000012           0       300        100 recvfrom\n\
            00.00    0.000000           0        30            clock_nanosleep\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000025           0       500       100 total\n";
        let calls: Vec<_> = parse(table).into_iter().collect();
        assert_eq!(calls, [("recvfrom".to_owned(), 300), ("sendto".to_owned(), 200)]);
    }
}
