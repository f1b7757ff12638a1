//! The origin: answers every request with the same 1 KiB, as cheaply as it can.
//!
//! No HTTP library: it finds the ends of request heads and counts them. Requests must not have bodies.
//!
//! **Invariant:** one answer per request head, in order.

use std::{io, net::SocketAddr};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The size of every response body.
pub(crate) const BODY_BYTES: usize = 1024;

/// Serves on `address` for ever.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (connection, _) = listener.accept().await?;
            // A proxy that goes away resets its connections: nothing to report.
            tokio::spawn(async move { answer(connection).await.ok() });
        }
    })
}

async fn answer(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let response = response();
    let mut heads = HeadEnds::default();
    let mut buffer = [0; 8 << 10];
    loop {
        let read = connection.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        for _ in 0..heads.count(&buffer[..read]) {
            connection.write_all(&response).await?;
        }
    }
}

fn response() -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; BODY_BYTES]].concat()
}

/// Finds the empty line after each head, also where a read splits it.
#[derive(Default)]
struct HeadEnds {
    matched: usize,
}

impl HeadEnds {
    fn count(&mut self, bytes: &[u8]) -> usize {
        bytes.iter().filter(|byte| self.ends_with(**byte)).count()
    }

    fn ends_with(&mut self, byte: u8) -> bool {
        const END: &[u8; 4] = b"\r\n\r\n";
        self.matched = match byte == END[self.matched] {
            true => self.matched + 1,
            false => usize::from(byte == END[0]),
        };
        let ended = self.matched == END.len();
        if ended {
            self.matched = 0;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::HeadEnds;

    #[test]
    fn heads_are_counted_wherever_they_are_split() {
        let two = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for split in 0..two.len() {
            let mut heads = HeadEnds::default();
            assert_eq!(heads.count(&two[..split]) + heads.count(&two[split..]), 2, "split at {split}");
        }
    }
}
