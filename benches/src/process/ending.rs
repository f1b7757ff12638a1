//! A program that is asked to end by a signal: it ends what it started first, and leaves no files behind.
//!
//! Nobody is asked by SIGKILL: then its children stay.
//!
//! **Invariant:** from the first signal on nothing new is started, and nothing is reported.

use std::{
    fs,
    io::Error,
    path::Path,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

use super::{POLL_INTERVAL, STOP_DEADLINE, family};

static STARTING: Mutex<()> = Mutex::new(());

/// What a thread holds while it does what a program that ends must not do: there it waits for the end.
pub(super) fn not_now() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All temporary files of the program; hold it to the end.
#[must_use]
#[derive(Debug)]
pub struct Files {
    _folder: TempDir,
}

impl Drop for Files {
    fn drop(&mut self) {
        // What fails because children were ended is not how the program ends.
        drop(not_now());
    }
}

/// From here on a signal ends the program's children too.
///
/// # Errors
///
/// There is no folder for files, or no thread to wait for signals.
pub fn with_children() -> Result<Files> {
    let folder = tempfile::Builder::new().prefix("meshup-bench-").tempdir()?;
    ensure!(tempfile::env::override_temp_dir(folder.path()).is_ok(), "a second folder for temporary files");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let path = folder.path().to_owned();
    thread::Builder::new().name("signals".into()).spawn(move || match runtime.block_on(asked()) {
        Ok(kind) => end(kind, &path),
        Err(error) => eprintln!("signals are not waited for: {error}"),
    })?;
    Ok(Files { _folder: folder })
}

/// A hang-up that is ignored, as nohup(1) has it, stays so.
async fn asked() -> Result<SignalKind, Error> {
    let ignores_hangup = is_ignored(&fs::read_to_string("/proc/self/status")?, SignalKind::hangup());
    let [hangup, interrupt, terminate] = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()];
    let (mut hung_up, mut interrupted, mut terminated) = (signal(hangup)?, signal(interrupt)?, signal(terminate)?);
    Ok(select! {
        _ = hung_up.recv(), if !ignores_hangup => hangup,
        _ = interrupted.recv() => interrupt,
        _ = terminated.recv() => terminate,
    })
}

/// By what the system says of a process, proc_pid_status(5).
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// The status is that of a shell for a program that a signal ended.
fn end(kind: SignalKind, folder: &Path) {
    let _nothing_new = not_now();
    // What cannot be ended or removed now stays: nobody is left to be told.
    end_children().ok();
    fs::remove_dir_all(folder).ok();
    process::exit(128 + kind.as_raw_value());
}

fn end_children() -> Result<()> {
    let started = Instant::now();
    loop {
        let family = family::of(process::id())?;
        let [_, children @ ..] = &family[..] else { return Ok(()) };
        if children.is_empty() {
            return Ok(());
        }
        let signal = if started.elapsed() < STOP_DEADLINE { Signal::TERM } else { Signal::KILL };
        children.iter().for_each(|child| send(signal, child.id));
        thread::sleep(POLL_INTERVAL);
    }
}

/// Who is gone already cannot be signalled.
fn send(signal: Signal, id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.map(|id| kill_process(id, signal).ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        let status = "Name:\tcompare\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(status, SignalKind::hangup()) && is_ignored(status, SignalKind::pipe()));
        assert!(!is_ignored(status, SignalKind::terminate()) && !is_ignored("", SignalKind::hangup()));
    }
}
