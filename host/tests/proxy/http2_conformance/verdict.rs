//! Cases as rows: what is said after the handshake, and what has to become of it.

use super::{
    peer::{ACK, Event, Peer},
    place::Place,
};
use crate::support::frames::{DATA, END_STREAM, Field, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, block, frame};

/// What has to become of a case.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    /// The connection ends, and where its end is given a code, it is one of these.
    ConnectionError(&'static [u32]),
    /// The stream or the connection ends, with one of these codes where there is one.
    StreamError(&'static [u32]),
    /// The connection is closed.
    Closed,
    /// GOAWAY with this code is sent.
    GoneAway(u32),
    /// Stream 1 is reset with this code.
    Reset(u32),
    /// Stream 1 is answered.
    Answered,
    /// Data of stream 1 comes, so much in the first frame.
    Data(usize),
    /// Settings are acknowledged.
    Acknowledged,
    /// A ping of [`TOKEN`] is answered, and no other.
    Ponged,
    /// The same, or the connection is closed.
    PongedOrClosed,
}

/// What pings carry.
pub(super) const TOKEN: &[u8; 8] = b"a token!";

/// A case: its name, beginning with the section that it is about, what is sent, what has to become of it.
pub(super) type Case = (&'static str, Vec<Vec<u8>>, Verdict);

/// Holds the cases to the proxy in every place.
pub(super) async fn hold(cases: &[Case]) {
    let mut broken = Vec::new();
    for place in Place::all().await {
        for (name, sent, verdict) in cases {
            for together in [false, true] {
                let mut peer = place.connect().await;
                say(&mut peer, sent, together).await;
                if let Err(instead) = judge(&mut peer, *verdict).await {
                    broken.push(format!("{name} {} (together: {together}): {instead}, not {verdict:?}", place.name));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

async fn say(peer: &mut Peer, sent: &[Vec<u8>], together: bool) {
    if together {
        return peer.send(sent.concat()).await;
    }
    for piece in sent {
        peer.send(piece).await;
    }
}

/// Waits for what decides.
pub(super) async fn judge(peer: &mut Peer, verdict: Verdict) -> Result<(), String> {
    let mut before = String::new();
    loop {
        let event = peer.event().await;
        match decide(&event, verdict) {
            Some(true) => return Ok(()),
            Some(false) => return Err(format!("{before}{event:?}")),
            None if !matches!(event, Event::Frame(_)) => return Err(format!("{before}{event:?}")),
            None => before += &format!("{event:?}, "),
        }
    }
}

/// Whether it is as it has to be, if this event says so.
fn decide(event: &Event, verdict: Verdict) -> Option<bool> {
    let frame = match event {
        Event::Frame(frame) => frame,
        Event::Closed => {
            let ends = matches!(
                verdict,
                Verdict::ConnectionError(_) | Verdict::StreamError(_) | Verdict::Closed | Verdict::PongedOrClosed
            );
            return Some(ends);
        }
        Event::Nothing => return Some(false),
    };
    match (verdict, frame.kind) {
        (Verdict::ConnectionError(codes) | Verdict::StreamError(codes), GOAWAY) => {
            codes.contains(&frame.number(4)).then_some(true)
        }
        (Verdict::StreamError(codes), RST_STREAM) => codes.contains(&frame.number(0)).then_some(true),
        (Verdict::GoneAway(code), GOAWAY) => Some(frame.number(4) == code),
        (Verdict::Reset(code), RST_STREAM) => Some(frame.stream == 1 && frame.number(0) == code),
        (Verdict::Answered, HEADERS) => Some(frame.stream == 1),
        (Verdict::Data(length), DATA) => Some(frame.stream == 1 && frame.payload.len() == length),
        (Verdict::Acknowledged, SETTINGS) => Some(frame.flags == ACK),
        (Verdict::Ponged | Verdict::PongedOrClosed, PING) => Some(frame.flags == ACK && frame.payload == TOKEN),
        _ => None,
    }
}

/// A request's fields, for the method.
pub(super) fn request<'a>(method: &'a str, more: &[Field<'a>]) -> Vec<Field<'a>> {
    let head: [Field<'a>; 4] =
        [(b":method", method.as_bytes()), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"127.0.0.1:8080")];
    [&head, more].concat()
}

/// The header block of a GET.
pub(super) fn get() -> Vec<u8> {
    block(&request("GET", &[]))
}

/// The header block of a POST.
pub(super) fn post() -> Vec<u8> {
    block(&request("POST", &[]))
}

/// A header block of one field of 4,000 bytes.
pub(super) fn long_field() -> Vec<u8> {
    block(&[(b"x-long", &[b'x'; 4000])])
}

/// A frame of stream 1 with END_STREAM.
pub(super) fn last_data() -> Vec<u8> {
    frame(DATA, END_STREAM, 1, b"test")
}

pub(super) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, TOKEN)
}
