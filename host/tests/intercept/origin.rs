//! A service that answers each request with the request's head.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{PATIENCE, namespace::Namespace};

/// It serves until the process ends.
pub(crate) struct Origin {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) fn start(namespace: &Namespace, address: &str) -> Self {
        Self::accept(namespace, address, answer)
    }

    /// The same over TLS.
    pub(crate) fn over_tls(namespace: &Namespace, address: &str, config: ServerConfig) -> Self {
        let config = Arc::new(config);
        Self::accept(namespace, address, move |stream| {
            let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            answer(StreamOwned::new(session, stream))
        })
    }

    fn accept(
        namespace: &Namespace,
        address: &str,
        answer: impl Fn(TcpStream) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = namespace.inside(|| TcpListener::bind(address).unwrap());
        let origin = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = origin.requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                requests.fetch_add(1, Ordering::SeqCst);
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                _ = answer(stream);
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

fn answer(mut stream: impl Read + Write) -> io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", head.len())?;
    stream.write_all(&head)?;
    stream.flush()
}
