//! Which protocol a client speaks: HTTP/2 with prior knowledge begins with a preface that is no HTTP/1 request
//! (RFC 9113 section 3.4).

use std::io;

use tokio::{io::AsyncReadExt, time::timeout};

use crate::{config::ListenerLimits, transport::Transport};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's type: SETTINGS, which the preface ends with.
const SETTINGS: u8 = 4;
/// Where a frame's head has its type.
const TYPE_AT: usize = 3;

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

/// The first frame of an HTTP/2 client, as far as it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum FirstFrame {
    /// Its type comes behind so many bytes.
    Ahead(usize),
    Seen,
}

impl FirstFrame {
    /// Before the preface.
    pub(super) fn ahead() -> Self {
        Self::Ahead(PREFACE.len() + TYPE_AT)
    }

    /// Looks at what came next.
    ///
    /// # Errors
    /// The first frame is not SETTINGS.
    pub(super) fn inspect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self::Ahead(before) = *self else { return Ok(()) };
        *self = match bytes.get(before) {
            None => Self::Ahead(before.saturating_sub(bytes.len())),
            Some(&SETTINGS) => Self::Seen,
            Some(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP/2 without settings")),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 9] = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];

    /// Whether a client that says this, so many bytes at once, may go on.
    fn is_taken(said: &[u8], at_once: usize) -> bool {
        let mut first = FirstFrame::ahead();
        said.chunks(at_once).all(|bytes| first.inspect(bytes).is_ok())
    }

    #[test]
    fn settings_come_first_and_only_first() {
        let sound = [&PREFACE[..], &FRAME, &[0, 0, 0, 1, 0, 0, 0, 0, 0]].concat();
        let other = [&PREFACE[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0], &FRAME].concat();
        for at_once in 1..sound.len() {
            assert!(is_taken(&sound, at_once), "{at_once}");
            assert!(!is_taken(&other, at_once), "{at_once}");
        }
    }
}
