//! A client that says anything, and reads frames as they come.

use std::{collections::HashMap, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::support::frames::{SETTINGS, frame};

pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const ACK: u8 = 1;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITIZED: u8 = 0x20;

pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const STREAM_CLOSED: u32 = 5;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const COMPRESSION_ERROR: u32 = 9;

pub(super) const INITIAL_WINDOW: u16 = 4;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client that waits for longer than this gives up, and so does whoever judges a server.
const PATIENCE: Duration = Duration::from_secs(4);

/// A byte stream, in clear text or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One frame that the proxy sent.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The four bytes at `at`.
    pub(super) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// What came next.
#[derive(Debug)]
pub(super) enum Event {
    Frame(Frame),
    Closed,
    Nothing,
}

/// A client's connection.
pub(super) struct Peer {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
    /// What the proxy announced.
    pub(super) settings: HashMap<u16, u32>,
}

impl Peer {
    pub(super) fn over(stream: Box<dyn Stream>) -> Self {
        Self { stream, read: Vec::new(), settings: HashMap::new() }
    }

    /// Sends what the other end may no longer want.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        let _ = timeout(PATIENCE, sent).await;
    }

    /// Sends settings.
    pub(super) async fn set(&mut self, settings: &[(u16, u32)]) {
        self.send(self::settings(settings)).await;
    }

    /// Exchanges prefaces and settings, until both sides acknowledged the other's.
    pub(super) async fn shake_hands(&mut self) {
        self.send(PREFACE).await;
        self.set(&[(INITIAL_WINDOW, 65_535)]).await;
        let (mut announced, mut acknowledged) = (false, false);
        while !(announced && acknowledged) {
            match self.event().await {
                Event::Frame(Frame { kind: SETTINGS, flags: ACK, .. }) => acknowledged = true,
                Event::Frame(Frame { kind: SETTINGS, payload, .. }) => {
                    announced = true;
                    self.settings.extend(
                        payload
                            .as_chunks::<6>()
                            .0
                            .iter()
                            .map(|&[a, b, c, d, e, f]| (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))),
                    );
                    self.send(frame(SETTINGS, ACK, 0, &[])).await;
                }
                Event::Frame(_) => {}
                end => panic!("{end:?} instead of settings"),
            }
        }
    }

    /// Waits for what comes next.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            if let Some(frame) = self.whole_frame() {
                return Event::Frame(frame);
            }
            match timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Event::Closed,
                Err(_) => return Event::Nothing,
            }
        }
    }

    fn whole_frame(&mut self) -> Option<Frame> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = self.read.first_chunk()?;
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        if self.read.len() < end {
            return None;
        }
        let rest = self.read.split_off(end);
        let payload = std::mem::replace(&mut self.read, rest).split_off(9);
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload })
    }

    /// The next frame of a kind.
    pub(super) async fn next(&mut self, wanted: u8) -> Frame {
        loop {
            match self.event().await {
                Event::Frame(frame) if frame.kind == wanted => return frame,
                Event::Frame(_) => {}
                end => panic!("{end:?} instead of a frame of kind {wanted}"),
            }
        }
    }
}

pub(super) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}
