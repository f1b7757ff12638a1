//! Which protocol a client speaks: HTTP/2 with prior knowledge begins with a preface that is no HTTP/1 request
//! (RFC 9113 section 3.4).

use std::io;

use tokio::{io::AsyncReadExt, net::TcpStream};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, read to learn its protocol.
#[derive(Debug)]
pub(super) struct Beginning {
    bytes: [u8; PREFACE.len()],
    len: usize,
}

impl Beginning {
    /// Reads until the bytes differ from the preface or are all of it.
    ///
    /// # Errors
    /// What the socket says; the end of the stream is no error but a short beginning.
    pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut beginning = Self { bytes: [0; PREFACE.len()], len: 0 };
        while beginning.may_be_http2() && beginning.len < PREFACE.len() {
            let room = beginning.bytes.get_mut(beginning.len..).unwrap_or_default();
            match stream.read(room).await? {
                0 => break,
                read => beginning.len += read,
            }
        }
        Ok(beginning)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn is_http2(&self) -> bool {
        self.len == PREFACE.len() && self.may_be_http2()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn may_be_http2(&self) -> bool {
        PREFACE.starts_with(self.bytes())
    }
}
