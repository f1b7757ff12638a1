//! The proxy that is measured, and the origin behind it.
//!
//! **Invariant:** the proxy ends with the value that stands for it.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

const DEADLINE: Duration = Duration::from_secs(10);

/// A running `meshup` with a listener in clear text and one with TLS.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) clear: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// What its TLS listener shows.
    pub(crate) certificate: rcgen::Certificate,
    _folder: tempfile::TempDir,
}

impl Proxy {
    pub(crate) fn start(program: &Path, origin: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".into()])?;
        fs::write(folder.path().join("tls.crt"), cert.pem())?;
        fs::write(folder.path().join("tls.key"), signing_key.serialize_pem())?;
        let (clear, tls) = (free_address()?, free_address()?);
        let file = folder.path().join("meshup.toml");
        fs::write(&file, configuration(clear, tls, origin))?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{}", program.display()))?;
        let proxy = Self { child, clear, tls, certificate: cert, _folder: folder };
        let started = Instant::now();
        while TcpStream::connect(tls).is_err() {
            ensure!(started.elapsed() < DEADLINE, "the proxy does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(proxy)
    }

    pub(crate) fn resident_bytes(&self) -> Result<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn configuration(clear: SocketAddr, tls: SocketAddr, origin: SocketAddr) -> String {
    let limits = r#"limits = { idle_timeout = "1h", header_timeout = "1h", max_connections = 1000000 }"#;
    format!(
        r#"
        workers = 1
        admin.listen = "127.0.0.1:0"
        [[listeners]]
        name = "clear"
        listen = "{clear}"
        {limits}
        [[listeners]]
        name = "tls"
        listen = "{tls}"
        tls = {{ certificate = "tls.crt", private_key = "tls.key" }}
        {limits}
        [[routes]]
        upstream = "origin"
        [upstreams.origin]
        endpoints = ["{origin}"]
        "#
    )
}

/// Answers every read with the same response: one request comes at a time.
pub(crate) fn origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}
