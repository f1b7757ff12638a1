//! The log of the `meshup` binary.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{Client, Protocol};

/// Each exchange is logged as a failure to connect.
const CONFIG: &str = "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\n\
    listen = \"127.0.0.1:0\"\n[[routes]]\nupstream = \"nobody\"\n[upstreams.nobody]\nendpoints = [\"127.0.0.1:1\"]\n";

#[tokio::test]
async fn a_reader_of_the_log_that_goes_away_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("meshup.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_meshup"))
        .arg("run")
        .arg("--config")
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let listening = log.find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).ok()?;
        (line["message"] == "listening").then(|| line["address"].as_str()?.parse::<SocketAddr>().ok())?
    });
    drop(log);
    let asked = tokio::time::timeout(Duration::from_secs(10), async {
        for _ in 0..3 {
            let answer = Client::connect(Protocol::Http1, listening.unwrap()).await.get("/").await;
            assert_eq!(answer.status, 503);
        }
    });
    let answered = asked.await;
    process.kill().unwrap();
    process.wait().unwrap();
    answered.unwrap();
}
