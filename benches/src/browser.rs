//! A browser: one request again and again over kept-alive connections, one at a time on each.
//!
//! Blocking, in rounds over all connections: what counts instructions and calls of a proxy is in no hurry, and shall count
//! the same each time.
//!
//! **Invariant:** every request and every response is the same, byte for byte.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Result, ensure};

use crate::work::Work;

/// The browser's connections.
pub struct Browser {
    streams: Vec<TcpStream>,
    request: Vec<u8>,
}

impl Browser {
    /// Opens so many.
    pub fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        let streams = (0..connections).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
        Ok(Self { streams, request: Work::Get.bytes(0) })
    }

    /// Sends at least so many requests, a round over all connections at a time.
    pub fn run(&mut self, requests: usize) -> Result<()> {
        let mut sent = 0;
        while sent < requests {
            let round = self.streams.len().min(requests - sent);
            for stream in &mut self.streams[..round] {
                stream.write_all(&self.request)?;
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
        if let Some(head) = response.windows(4).position(|four| four == b"\r\n\r\n") {
            ensure!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
            if response.len() == head + 4 + Work::Get.response_bytes() {
                return Ok(());
            }
        }
    }
}
