//! What an idle connection costs in memory: opens many, sends one request over each, and reads what the proxy's resident
//! memory grew by.
//!
//! It measures a `meshup` that runs as users run it, with one worker and no filter. What the system keeps for a socket is
//! not in it.
//!
//! **Invariant:** every connection is still open when the memory is read.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

/// Connections that are opened and closed first, so that pools and allocator are in use.
const WARM_UP: usize = 200;
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Arguments {
    /// How many connections; the proxy takes half as many as it may have file descriptors.
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// How long they are idle before the memory is read, seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// The proxy.
    #[arg(long, default_value = "target/release/meshup")]
    meshup: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let origin = origin()?;
    for (name, exchange) in [("HTTP/1.1", http1 as Exchange), ("h2c", http2)] {
        let bytes = measure(&arguments, origin, exchange)?;
        println!("{name:8} {:6.2} KiB per idle connection", bytes as f64 / 1024.0);
    }
    Ok(())
}

/// Opens a connection and has one request answered.
type Exchange = fn(SocketAddr) -> Result<TcpStream>;

fn measure(arguments: &Arguments, origin: SocketAddr, exchange: Exchange) -> Result<usize> {
    let proxy = Proxy::start(&arguments.meshup, origin)?;
    let open = |count| (0..count).map(|_| exchange(proxy.address)).collect::<Result<Vec<_>>>();
    drop(open(WARM_UP)?);
    let before = proxy.resident_bytes()?;
    let connections = open(arguments.connections)?;
    thread::sleep(Duration::from_secs(arguments.seconds));
    let after = proxy.resident_bytes()?;
    Ok(after.saturating_sub(before) / connections.len())
}

struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start(program: &PathBuf, origin: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("meshup.toml");
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        fs::write(&file, configuration(address, origin))?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{}", program.display()))?;
        let proxy = Self { child, address, _folder: folder };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(started.elapsed() < DEADLINE, "the proxy does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(proxy)
    }

    fn resident_bytes(&self) -> Result<usize> {
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

fn configuration(listen: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"{listen}\"\n\
         limits = {{ idle_timeout = \"1h\", max_connections = 1000000 }}\n[[routes]]\nupstream = \"origin\"\n\
         [upstreams.origin]\nendpoints = [\"{origin}\"]\n"
    )
}

/// Answers every read with the same response: one request comes at a time.
fn origin() -> Result<SocketAddr> {
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

fn http1(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n")?;
    let (mut response, mut buffer) = (Vec::new(), [0; 4096]);
    while !response.ends_with(b"\r\n\r\nok") {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the proxy closed the connection after {:?}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&buffer[..read]);
    }
    Ok(stream)
}

/// Preface, empty SETTINGS, and HEADERS of `GET /` of the authority `a` that end stream 1 (RFC 9113 sections 3.4 and 6).
const HTTP2_REQUEST: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
const DATA: u8 = 0;
const END_STREAM: u8 = 1;

fn http2(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(HTTP2_REQUEST)?;
    stream.write_all(SETTINGS_ACK)?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        stream.read_exact(&mut payload)?;
        match (kind, flags & END_STREAM) {
            (DATA, END_STREAM) => return Ok(stream),
            (3 | 7, _) => bail!("the proxy refused the stream: {payload:?}"),
            _ => {}
        }
    }
}
