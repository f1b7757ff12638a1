//! A browser and the origin it asks: one request again and again over kept-alive connections, one at a time on each.
//!
//! Blocking, a thread for each connection of the origin: what counts instructions and calls of a proxy is in no hurry.
//!
//! **Invariant:** every request and every response is the same, byte for byte.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Result, ensure};

const REQUEST: &[u8] = b"GET /v1/orders?limit=20&sort=newest HTTP/1.1\r\nhost: shop.example\r\n\
user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
accept-language: en-GB,en;q=0.7,de;q=0.3\r\naccept-encoding: gzip, deflate, br, zstd\r\n\
referer: https://shop.example/catalogue?page=2\r\n\
cookie: session=5f2b8c1e9d7a4f6083b1c2d3e4f50617; theme=dark; consent=all\r\nupgrade-insecure-requests: 1\r\n\
sec-fetch-dest: document\r\nsec-fetch-mode: navigate\r\nsec-fetch-site: same-origin\r\npriority: u=0, i\r\n\r\n";

/// What the browser asks for, and its header fields but `host`.
pub fn request() -> (&'static str, impl Iterator<Item = (&'static str, &'static str)>) {
    let text = str::from_utf8(REQUEST).unwrap_or_default();
    let target = text.split(' ').nth(1).unwrap_or_default();
    (target, text.lines().skip(2).filter_map(|line| line.split_once(": ")))
}

const BODY: [u8; 1024] = [b'x'; 1024];

/// Answers every request with 1 KiB.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Origin {
    /// Starts it, on threads of this process.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || answer(stream));
            }
        });
        Ok(Self { address })
    }
}

/// Requests without a body: a head ends with an empty line.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut response = b"HTTP/1.1 200 OK\r\nserver: origin\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\
        cache-control: no-store\r\netag: \"5f2b8c1e\"\r\n\r\n"
        .to_vec();
    response.extend(BODY);
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..read]);
        if buffer.ends_with(b"\r\n\r\n") {
            buffer.clear();
            stream.write_all(&response)?;
        }
    }
}

/// The browser's connections.
pub struct Browser {
    streams: Vec<TcpStream>,
}

impl Browser {
    /// Opens so many.
    pub fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        let streams = (0..connections).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
        Ok(Self { streams })
    }

    /// Sends at least so many requests, a round over all connections at a time.
    pub fn run(&mut self, requests: usize) -> Result<()> {
        let mut sent = 0;
        while sent < requests {
            let round = self.streams.len().min(requests - sent);
            for stream in &mut self.streams[..round] {
                stream.write_all(REQUEST)?;
            }
            for stream in &mut self.streams[..round] {
                read_response(stream)?;
            }
            sent += round;
        }
        Ok(())
    }
}

fn read_response(stream: &mut TcpStream) -> Result<()> {
    let mut response = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the proxy closed a connection");
        response.extend_from_slice(&chunk[..read]);
        if response.ends_with(&BODY) && response.windows(4).any(|four| four == b"\r\n\r\n") {
            ensure!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
            return Ok(());
        }
    }
}
