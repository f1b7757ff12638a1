//! The `meshup` binary as a process of its own.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, soon};

/// `meshup run`; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    config: PathBuf,
    _folder: TempDir,
}

impl Process {
    /// Starts with this configuration and waits until it listens.
    pub(crate) async fn run(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meshup.toml");
        fs::write(&path, config).unwrap();
        Self::run_file(folder, &path).await
    }

    /// The same with a file in `folder`.
    pub(crate) async fn run_file(folder: TempDir, config: &Path) -> Self {
        Self::run_command(Command::new(env!("CARGO_BIN_EXE_meshup")), folder, config).await
    }

    /// The same by a command that may have an environment of its own.
    pub(crate) async fn run_command(mut command: Command, folder: TempDir, config: &Path) -> Self {
        let log = folder.path().join("log");
        let child = command
            .args(["run", "--config"])
            .arg(config)
            .arg("--cache-dir")
            .arg(super::proxy::cache_dir())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let process = Self { child, log, config: config.to_owned(), _folder: folder };
        eventually("the process listens", || process.addresses("admin listening").next().is_some()).await;
        process
    }

    fn addresses(&self, message: &str) -> impl Iterator<Item = SocketAddr> {
        let log = self.log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let said = lines.into_iter().filter(|line| line["message"] == message);
        said.map(|line| line["address"].as_str().unwrap().parse().unwrap()).collect::<Vec<_>>().into_iter()
    }

    /// What it has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The first listener's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses("listening").next().unwrap()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.addresses("admin listening").next().unwrap()
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> ExitStatus {
        self.ended_by(|_| {}).await
    }

    /// Sends a signal again and again until the process ends: at first it may be taken for an echo of another.
    pub(crate) async fn ended_by_repeating(self, signal: &str) -> ExitStatus {
        self.ended_by(|process| process.signal(signal)).await
    }

    async fn ended_by(mut self, insist: impl Fn(&Self)) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                insist(&self);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the end of the process", ended).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
