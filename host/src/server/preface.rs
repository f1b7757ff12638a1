//! Which protocol a client speaks: HTTP/2 with prior knowledge begins with a preface that is no HTTP/1 request
//! (RFC 9113 section 3.4).

use std::io;

use tokio::{io::AsyncReadExt, time::timeout};

use crate::{config::ListenerLimits, transport::Transport};

/// Behind it comes a SETTINGS frame.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, read to learn its protocol.
#[derive(Debug)]
pub(super) struct Beginning {
    bytes: [u8; PREFACE.len()],
    len: usize,
}

impl Beginning {
    /// Reads until the bytes differ from the preface or are all of it: the first within `header_timeout`, the others
    /// within the same of them.
    ///
    /// # Errors
    /// What the socket says, and the time-outs; the end of the stream is no error but a short beginning.
    pub(super) async fn read(stream: &mut Transport, limits: &ListenerLimits) -> io::Result<Self> {
        let mut beginning = Self { bytes: [0; PREFACE.len()], len: 0 };
        timeout(limits.header_timeout, beginning.more(stream)).await??;
        timeout(limits.header_timeout, async {
            while beginning.may_be_http2() && beginning.len < PREFACE.len() && beginning.more(stream).await? {}
            Ok(beginning)
        })
        .await?
    }

    /// Reads on; false at the end of the stream.
    async fn more(&mut self, stream: &mut Transport) -> io::Result<bool> {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let read = stream.read(room).await?;
        self.len += read;
        Ok(read > 0)
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
