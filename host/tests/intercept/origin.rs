//! A service that answers each request with the request's head.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{PATIENCE, namespace::Namespace};

/// It serves until the process ends.
pub(crate) struct Origin {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) fn start(namespace: &Namespace, address: &str) -> Self {
        let listener = namespace.inside(|| TcpListener::bind(address).unwrap());
        let origin = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = origin.requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                requests.fetch_add(1, Ordering::SeqCst);
                _ = answer(stream.unwrap());
            }
        });
        origin
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far, each of which has one request.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", head.len())?;
    stream.write_all(&head)
}
