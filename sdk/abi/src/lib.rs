//! The wire format between the meshup host and a filter: native ABI, version 1.
//!
//! Both sides use this crate and nothing else to read and write messages, so they cannot disagree. It holds the
//! format alone, and which headers are the host's: no I/O, no wasm, no other policy about changes. The prose
//! specification is `ABI.md` beside this crate.
//!
//! A message is a run of fields, each `tag: u16, length: u32, payload`, all little-endian and unaligned. A reader skips
//! the tags it does not know, which is how the format grows.
//!
//! **Invariant:** reading never panics and never reads outside the message, whatever the bytes are.
//!
//! ```
//! use meshup_abi::{Field, Fields, Writer, tag};
//!
//! let mut message = Vec::new();
//! let mut writer = Writer::new(&mut message);
//! writer.bytes(tag::PATH, b"/v1/orders?limit=1").unwrap();
//! writer.pair(tag::HEADER, b"accept", b"*/*").unwrap();
//!
//! let mut fields = Fields::new(&message);
//! let Field { tag, payload } = fields.next().unwrap().unwrap();
//! assert_eq!((tag, payload), (tag::PATH, &b"/v1/orders?limit=1"[..]));
//! assert_eq!(fields.next().unwrap().unwrap().pair().unwrap(), (&b"accept"[..], &b"*/*"[..]));
//! assert!(fields.next().is_none());
//! ```
#![no_std]

extern crate alloc;

mod codes;
mod header_names;
pub mod headers;
mod metric_record;
mod wire;

pub use codes::{
    Attribute, BodyError, ErrorKind, Event, Level, MetricKind, MetricOp, Outcome, Signature, UnknownCode, Verdict,
};
pub use header_names::HeaderNames;
pub use metric_record::MetricRecord;
pub use wire::{Field, Fields, Malformed, Overflow, Sink, SliceSink, Writer};

/// The version of the ABI this crate describes; the guest's [`export::VERSION`] returns it.
pub const VERSION: u32 = 1;

/// The module name of every function a guest may import.
pub const IMPORT_MODULE: &str = "meshup";

/// The names a guest module exports.
pub mod export {
    /// The linear memory that holds every message.
    pub const MEMORY: &str = "memory";
    /// `() -> u32`: the ABI version, [`VERSION`](crate::VERSION).
    pub const VERSION: &str = "meshup_abi_version";
    /// `(len: u32) -> u32`: the address of a buffer of at least `len` bytes for the next message to the guest. The
    /// address stays valid until the next call of this function or until the message is handed over.
    pub const BUFFER: &str = "meshup_buffer";
    /// `(len: u32) -> u64`: takes the configuration message in the buffer; returns a packed answer message.
    pub const CONFIGURE: &str = "meshup_configure";
    /// `(exchange: u32, event: u32, len: u32) -> u64`: takes one event; returns a packed answer message.
    pub const ON_EVENT: &str = "meshup_on_event";
}

/// The names a guest may import from [`IMPORT_MODULE`], all of them synchronous.
///
/// Pointers and lengths are `u32`. A function that fills a caller's buffer takes `(out, capacity)` and returns the
/// length of the whole value as `i32`: when that exceeds the capacity nothing was written and the guest asks again with
/// a larger buffer. [`ABSENT`] and the other negative results are named in the crate root.
pub mod import {
    /// `(level: u32, text, len)`: one log line. Levels are [`Level`](crate::Level).
    pub const LOG: &str = "log";
    /// `() -> u64`: nanoseconds since the Unix epoch.
    pub const NOW_UNIX: &str = "now_unix";
    /// `() -> u64`: nanoseconds of a monotonic clock with an arbitrary origin.
    pub const NOW_MONOTONIC: &str = "now_monotonic";
    /// `(out, len)`: fills `len` random bytes, cryptographically strong.
    pub const RANDOM: &str = "random";
    /// `(kind: u32, message, len) -> i32`: a handle for one metric series. The message has one
    /// [`tag::NAME`](crate::tag::NAME) and a [`tag::LABEL`](crate::tag::LABEL) pair per label. Asking twice gives the
    /// same handle. Kinds are [`MetricKind`](crate::MetricKind).
    pub const METRIC_SERIES: &str = "metric_series";
    /// `(series: i32, op: u32, value: f64) -> i32`: records a value. Ops are [`MetricOp`](crate::MetricOp).
    pub const METRIC_RECORD: &str = "metric_record";
    /// `(records, len) -> i32`: records values, each a [`MetricRecord`](crate::MetricRecord) of 16 bytes, at most
    /// [`MetricRecord::MAX`](crate::MetricRecord::MAX). [`INVALID`](crate::INVALID) when one of them is not valid, while the
    /// others count, and when there are more or the length is not a whole number of them, and then none counts.
    pub const METRIC_RECORDS: &str = "metric_records";
    /// `(attribute: u32, out, capacity) -> i32`: an attribute of the exchange. Ids are
    /// [`Attribute`](crate::Attribute).
    pub const ATTRIBUTE: &str = "attribute";
    /// `(name, len, out, capacity) -> i32`: a variable of the exchange.
    pub const VARIABLE: &str = "variable";
    /// `(name, len, value, len) -> i32`: leaves a variable for later filters and the access log.
    pub const SET_VARIABLE: &str = "set_variable";
    /// `(key, len, out, capacity) -> i32`: a value of the shared state.
    pub const STATE_GET: &str = "state_get";
    /// `(key, len, value, len, ttl_ms: u64) -> i32`: stores a value; `ttl_ms` 0 means no expiry.
    pub const STATE_SET: &str = "state_set";
    /// `(key, len, expected, expected_len, value, len, ttl_ms: u64) -> i32`: stores the value only when the key holds
    /// `expected`; `expected_len` of `u32::MAX` expects the key to be absent. 1 when stored, 0 when not.
    pub const STATE_COMPARE_AND_SWAP: &str = "state_compare_and_swap";
    /// `(key, len, delta: i64, ttl_ms: u64, out) -> i32`: adds to an 8-byte little-endian `i64` (absent counts as 0, and
    /// only then `ttl_ms` applies) and writes the sum, 8 bytes, to `out`.
    pub const STATE_ADD: &str = "state_add";
    /// `(key, len) -> i32`: removes a key; 1 when it was there, 0 when not.
    pub const STATE_REMOVE: &str = "state_remove";
    /// `(data, len, out)`: SHA-256, 32 bytes to `out`.
    pub const SHA256: &str = "sha256";
    /// `(key, len, data, len, out)`: HMAC-SHA-256, 32 bytes to `out`.
    pub const HMAC_SHA256: &str = "hmac_sha256";
    /// `(algorithm: u32, key, len, data, len, signature, len) -> i32`: 1 valid, 0 not valid,
    /// [`INVALID`](crate::INVALID) when the key cannot be read. Algorithms and key formats are
    /// [`Signature`](crate::Signature).
    pub const VERIFY: &str = "verify";
}

/// A host call's result: there is no such value.
pub const ABSENT: i32 = -1;
/// A host call's result: an argument is not valid (unknown id, name not allowed, key that cannot be read).
pub const INVALID: i32 = -2;
/// A host call's result: a quota is used up (series, keys, bytes, variables).
pub const QUOTA: i32 = -3;
/// A host call's result: there is no exchange at this point (during `configure`).
pub const NO_EXCHANGE: i32 = -4;

/// Packs the address and length of a message into a guest function's `u64` result.
///
/// ```
/// assert_eq!(meshup_abi::unpack(meshup_abi::pack(0x10000, 24)), (0x10000, 24));
/// ```
#[must_use]
pub const fn pack(address: u32, len: u32) -> u64 {
    (address as u64) << 32 | len as u64
}

/// The address and length in a guest function's `u64` result.
#[must_use]
pub const fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

/// The tags of fields. "pair" payloads are `name_len: u32, name, value`; integers are little-endian; durations are
/// `u64` microseconds; texts are UTF-8.
pub mod tag {
    /// Nothing any more: what stood there was taken away.
    pub const NONE: u16 = 0;
    /// Bytes: the request method.
    pub const METHOD: u16 = 1;
    /// Bytes: `http` or `https`, the scheme the client used.
    pub const SCHEME: u16 = 2;
    /// Bytes: the authority (HTTP/2 `:authority`, HTTP/1 `Host`).
    pub const AUTHORITY: u16 = 3;
    /// Bytes: path and query, as in the request line.
    pub const PATH: u16 = 4;
    /// Pair: one header field. In an answer: append it. Names are lower case from the host.
    pub const HEADER: u16 = 5;
    /// Pair, answers only: replace every header of that name by this one.
    pub const HEADER_SET: u16 = 6;
    /// Bytes, answers only: remove every header of that name.
    pub const HEADER_REMOVE: u16 = 7;
    /// Empty, answers only: remove all headers; the [`HEADER`] fields that follow are the complete list.
    pub const HEADERS_CLEAR: u16 = 8;
    /// `u16`: a response's status code.
    pub const STATUS: u16 = 9;
    /// `u32`: [`flag`](crate::flag) bits.
    pub const FLAGS: u16 = 10;
    /// `u32`: an [`ErrorKind`](crate::ErrorKind): the host made this response because of that error.
    pub const ERROR: u16 = 11;
    /// Bytes: body content. In an answer: replaces the body.
    pub const DATA: u16 = 12;
    /// `u32`: a [`BodyError`](crate::BodyError).
    pub const BODY_ERROR: u16 = 13;
    /// Text, answers only: the upstream to use: for the request (Pass, Run) or for the fetch.
    pub const UPSTREAM: u16 = 14;
    /// Duration, answers only: the deadline of this Run or Fetch, or the length of the Sleep.
    pub const DEADLINE: u16 = 15;
    /// Duration, answers only: a new time-out for the whole exchange, counted from its start.
    pub const TIMEOUT: u16 = 16;
    /// `u64`, answers only: the most bytes a Body or Fetch verdict wants.
    pub const LIMIT: u16 = 17;
    /// Duration, End only: from the first byte of the request to the end.
    pub const DURATION: u16 = 18;
    /// `u64`, End only: request body bytes received from the client.
    pub const REQUEST_BYTES: u16 = 19;
    /// `u64`, End only: response body bytes sent to the client.
    pub const RESPONSE_BYTES: u16 = 20;
    /// `u32`, End only: the gRPC status, where the response or its trailers carried one.
    pub const GRPC_STATUS: u16 = 21;
    /// `u32`, End only: an [`Outcome`](crate::Outcome).
    pub const OUTCOME: u16 = 22;
    /// Text: the name of the filter (configure) or of the metric (`metric_series`).
    pub const NAME: u16 = 23;
    /// Pair: one label of a metric series.
    pub const LABEL: u16 = 24;
    /// Bytes, configure only: the filter's configuration as JSON.
    pub const CONFIG: u16 = 25;
    /// Text, configure answers only: why the configuration is refused. None means accepted.
    pub const REFUSED: u16 = 26;
    /// Duration, Response and End: from the start of the exchange until the upstream's response head.
    pub const UPSTREAM_DURATION: u16 = 27;
    /// `u64`, answers only, as their first field: [`pack`](crate::pack)ed address and capacity of a buffer that takes the
    /// next message, if it fits, without a call of [`export::BUFFER`](crate::export::BUFFER).
    pub const BUFFER: u16 = 28;
    /// Fields: the changes to the response's headers that a Pass makes ahead.
    pub const ON_RESPONSE: u16 = 29;
    /// `u64` and `u32`, events only, as their first field: the [`bit`](crate::HeaderNames::bit_of) of every header's name
    /// that the message holds, so that most look-ups of one that it does not hold need no walk; and how many bytes behind
    /// this field the first header stands.
    pub const HEADER_NAMES: u16 = 30;
}

/// Bits of a [`tag::FLAGS`] field.
pub mod flag {
    /// Request and Response events: the message has no body.
    pub const NO_BODY: u32 = 1;
    /// Response event: the host can replay the request body, so a further Run is possible.
    pub const REPLAYABLE: u32 = 2;
    /// Any answer: send the End event when the exchange is over.
    pub const WANT_END: u32 = 4;
    /// Body verdict: the request's body is wanted; without it the response's.
    pub const REQUEST_BODY: u32 = 8;
}
