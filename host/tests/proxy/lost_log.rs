//! Log lines that standard error does not take.

use std::{
    fs::OpenOptions,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use crate::support::{Client, Protocol, soon};

/// `meshup run`, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts with an admin listener at `admin`.
fn run(folder: &std::path::Path, admin: SocketAddr, log: Stdio) -> Running {
    let config = folder.join("meshup.toml");
    let text = format!(
        "workers = 1\n[admin]\nlisten = \"{admin}\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshup"));
    Running(command.args(["run", "--config"]).arg(&config).stderr(log).spawn().unwrap())
}

/// Waits until the host says that so many lines were lost, or more.
async fn lost(admin: SocketAddr, at_least: u64) {
    let told = async || {
        let client = Client::try_connect(Protocol::Http1, admin).await?;
        let metrics = client.get("/metrics").await;
        let line = metrics.text().lines().find(|line| line.starts_with("meshup_log_lines_dropped_total "))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    soon("lost lines", async { while told().await.is_none_or(|lost| lost < at_least) {} }).await;
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn lines_that_a_full_disk_refuses_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (admin, full) = (free_address(), OpenOptions::new().write(true).open("/dev/full").unwrap());
    let _running = run(folder.path(), admin, full.into());
    // "listening" and "admin listening".
    lost(admin, 2).await;
}

#[tokio::test]
async fn lines_that_nobody_reads_any_more_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let admin = free_address();
    let mut running = run(folder.path(), admin, Stdio::piped());
    drop(running.0.stderr.take());
    lost(admin, 1).await;
}
