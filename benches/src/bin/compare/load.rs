//! The load: `wrk` with the request headers of a browser.
//!
//! **Invariant:** a run with a single failed request is no result.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use meshup_benches::process::pinned;

use crate::{LOAD_CORE, origin};

/// With `host`, the twelve header fields of a browser's request.
const HEADERS: [&str; 11] = [
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.7,de;q=0.3",
    "accept-encoding: gzip, deflate, br, zstd",
    "referer: https://shop.example/catalogue?page=2",
    "cookie: session=5f2b8c1e9d7a4f6083b1c2d3e4f50617; theme=dark; consent=all",
    "upgrade-insecure-requests: 1",
    "sec-fetch-dest: document",
    "sec-fetch-mode: navigate",
    "sec-fetch-site: same-origin",
    "priority: u=0, i",
];

const PATH: &str = "/v1/orders?limit=20&sort=newest";

/// How the proxies are loaded.
pub(crate) struct Load {
    connections: usize,
    duration: Duration,
}

/// What came back.
pub(crate) struct Answered {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
}

impl Load {
    /// Checks that the load generator is there.
    pub(crate) fn new(connections: usize, duration: Duration) -> Result<Self> {
        let found = Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.context("wrk is not installed: apt-get install wrk")?;
        Ok(Self { connections, duration })
    }

    /// One run of full length against `address`.
    pub(crate) fn run(&self, address: SocketAddr) -> Result<Answered> {
        self.run_for(self.duration, address)
    }

    /// One run against `address`.
    pub(crate) fn run_for(&self, duration: Duration, address: SocketAddr) -> Result<Answered> {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", "1", "-c"]).arg(self.connections.to_string()).arg("-d").arg(format!("{}s", duration.as_secs()));
        wrk.args(HEADERS.iter().flat_map(|header| ["-H", header]));
        wrk.arg(format!("http://{address}{PATH}"));
        let output = pinned(&wrk, LOAD_CORE).stdout(Stdio::piped()).output()?;
        let report = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk: {}", output.status);
        parse(&report).with_context(|| format!("wrk said: {report}"))
    }
}

fn parse(report: &str) -> Result<Answered> {
    let failed = report.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
    if let Some(line) = failed {
        bail!("requests failed: {}", line.trim());
    }
    let number = |before: &str| report.lines().find_map(|line| line.trim().split_once(before)?.0.trim().parse().ok());
    let rate = report.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    let requests = number(" requests in ").context("no count of requests")?;
    ensure!(requests > 0, "no request was answered");
    Ok(Answered { requests, per_second: rate.context("no rate")? })
}

/// Sends one request and checks that the origin's whole body comes back.
pub(crate) fn expect_body(address: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(connection, "GET {PATH} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").context("no response")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(head.starts_with("HTTP/1.1 200"), "a first request got {status:?}");
    ensure!(body.len() == origin::BODY_BYTES, "a first request got a body of {} bytes", body.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    const REPORT: &str = "\
Running 4s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  264196 requests in 4.10s, 295.06MB read
Requests/sec:  64437.94
Transfer/sec:     71.97MB
";

    #[test]
    fn a_clean_report_is_read() {
        let answered = parse(REPORT).unwrap();
        assert_eq!((answered.requests, answered.per_second), (264_196, 64_437.94));
    }

    #[test]
    fn a_report_with_failures_is_no_result() {
        for line in ["  Non-2xx or 3xx responses: 1", "  Socket errors: connect 0, read 1, write 0, timeout 0"] {
            assert!(parse(&format!("{REPORT}{line}\n")).is_err(), "{line}");
        }
    }
}
