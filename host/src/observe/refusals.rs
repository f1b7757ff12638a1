//! Why the host refused a request or ended a connection of a client: one series per reason.
//!
//! **Invariant:** a reason is a word of the host's own, never a client's, so there are few of them.

use std::cell::RefCell;

use meshup_abi::ErrorKind;
use metrics::Counter;

/// Why the host ended a connection or a stream, or took no more of them. What it answers requests with has an
/// [`ErrorKind`] instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A request head, or a PROXY protocol header, took longer than `header_timeout`.
    HeaderTimeout,
    /// A TLS handshake took longer than `header_timeout`.
    HandshakeTimeout,
    /// A connection had no request for `idle_timeout`.
    IdleTimeout,
    /// A client took nothing for `write_timeout`.
    WriteTimeout,
    /// `max_connections` are open.
    MaxConnections,
    /// A stream was more than the `max_streams` of its connection.
    MaxStreams,
    /// A stream's head was more than its connection may keep waiting.
    Http2Heads,
    /// A client sent more than `max_control_frames` on an HTTP/2 connection.
    Http2ControlFrames,
    /// The HTTP/2 library ended a connection because of what the client sent too much of.
    Http2Flood,
    /// The HTTP/2 library ended a connection because of what the client did against the protocol, its windows included.
    Http2Error,
}

impl Refusal {
    /// Its name in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::HeaderTimeout => "header-timeout",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::WriteTimeout => "write-timeout",
            Self::MaxConnections => "max-connections",
            Self::MaxStreams => "max-streams",
            Self::Http2Heads => "http2-heads",
            Self::Http2ControlFrames => "http2-control-frames",
            Self::Http2Flood => "http2-flood",
            Self::Http2Error => "http2-error",
        }
    }
}

thread_local! {
    /// The series of this worker that came up so far.
    static COUNTERS: RefCell<Vec<(&'static str, Counter)>> = const { RefCell::new(Vec::new()) };
}

/// Counts what a client's connection or stream met.
pub(crate) fn count_refusal(refusal: Refusal) {
    count(refusal.as_str());
}

/// Counts a response that the host made itself.
pub(crate) fn count_error(kind: ErrorKind) {
    count(kind.as_str());
}

fn count(reason: &'static str) {
    COUNTERS.with_borrow_mut(|counters| {
        if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == reason) {
            return counter.increment(1);
        }
        let counter = metrics::counter!("meshup_refusals_total", "reason" => reason);
        counter.increment(1);
        counters.push((reason, counter));
    });
}
