//! `meshup ready`: asks a running proxy, for health checks where nothing else is at hand that could.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, bail};

use super::Ready;

/// For each of connecting, asking and listening.
const PATIENCE: Duration = Duration::from_secs(2);
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: meshup\r\nconnection: close\r\n\r\n";
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

pub(super) fn run(args: &Ready) -> anyhow::Result<()> {
    let answer = ask(args).with_context(|| format!("the admin listener at {} does not answer", args.admin))?;
    let line = answer.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        bail!("not ready: {line}");
    }
    Ok(())
}

fn ask(args: &Ready) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&args.admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
