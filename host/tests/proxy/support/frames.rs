//! HTTP/2 frame by frame (RFC 9113), for what no library would send.

use super::{Proxy, Wire};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// How many bytes are read at once, if they are there.
const READ: usize = 64 * 1024;

/// A name and a value, neither checked.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as HPACK literals that enter no table (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(len: usize, block: &mut Vec<u8>) {
    if len < 127 {
        return block.push(u8::try_from(len).unwrap());
    }
    block.push(127);
    let mut rest = len - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// A whole request head in one frame.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A GET for `/` of `a`, with these fields behind.
pub(crate) fn get_with<'a>(more: &[Field<'a>]) -> Vec<Field<'a>> {
    let head: [Field<'a>; 4] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
    [&head, more].concat()
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A response; 0 for a status that has no index of its own.
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

impl Outcome {
    /// Whether the stream or the connection was ended for breaking the protocol.
    pub(crate) fn is_protocol_error(self) -> bool {
        matches!(self, Self::Reset(PROTOCOL_ERROR) | Self::GoAway(PROTOCOL_ERROR))
    }

    /// Whether the request was refused, one way or the other.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, Self::Status(400 | 405)) || self.is_protocol_error()
    }
}

/// A client's connection.
pub(crate) struct Frames {
    wire: Wire,
    read: Vec<u8>,
}

impl Frames {
    /// After the prefaces.
    pub(crate) async fn to(proxy: &Proxy) -> Self {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat()).await;
        Self { wire, read: Vec::new() }
    }

    /// Sends; false when the connection is gone.
    pub(crate) async fn send(&mut self, frames: impl AsRef<[u8]>) -> bool {
        self.wire.try_send(frames).await
    }

    /// The next frame: kind, stream, payload; none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        loop {
            if let Some(frame) = self.at_hand() {
                return Some(frame);
            }
            self.read.extend(self.wire.some_of(READ).await?);
        }
    }

    /// The next frame if it came with what was read before.
    pub(crate) fn at_hand(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let &[a, b, c, kind, _, s0, s1, s2, s3] = self.read.first_chunk()?;
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        let rest = (self.read.len() >= end).then(|| self.read.split_off(end))?;
        let payload = std::mem::replace(&mut self.read, rest).split_off(9);
        Some((kind, u32::from_be_bytes([s0, s1, s2, s3]), payload))
    }

    /// Waits for the proxy's settings.
    pub(crate) async fn settled(&mut self) {
        while self.next().await.is_some_and(|(kind, ..)| kind != SETTINGS) {}
        self.send(frame(SETTINGS, 1, 0, &[])).await;
    }

    /// What becomes of `stream`; 0 waits for the end of the connection.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        // A literal with Huffman coding, as `h2` writes it.
        const NOT_ALLOWED: &[u8] = b"\x48\x83\x68\x0d\xff";
        let code = |payload: &[u8], at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        while let Some((kind, on, payload)) = self.next().await {
            match kind {
                HEADERS if on == stream && payload.starts_with(NOT_ALLOWED) => return Outcome::Status(405),
                HEADERS if on == stream => {
                    let indexed = payload.first().and_then(|byte| INDEXED.get(usize::from(byte.wrapping_sub(0x88))));
                    return Outcome::Status(indexed.copied().unwrap_or(0));
                }
                RST_STREAM if on == stream => return Outcome::Reset(code(&payload, 0)),
                GOAWAY => return Outcome::GoAway(code(&payload, 4)),
                _ => {}
            }
        }
        Outcome::Closed
    }
}
