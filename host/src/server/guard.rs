//! A look at the raw bytes of HTTP/1 requests, for what the parser behind it lets pass: framing that two readers could
//! understand differently (RFC 9112 sections 2.2, 5.2, 6.3).
//!
//! It finds where each message ends, in step with the parser. What it does not like it overwrites, from the offending
//! byte on, with NUL, and ends the stream there: the parser then refuses the message by its own rules, answers 400 and
//! closes.
//!
//! It reads and writes nothing: `guarded.rs` shows it what is read.
//!
//! **Invariant:** a byte is changed only in a message that must be refused, and from there on every byte is.

use super::chunk_line;
use crate::observe;

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ambiguity {
    #[error("a line that does not end with CR LF")]
    BareLineFeed,
    #[error("a folded header line")]
    Fold,
    #[error("more than one content-length")]
    ContentLengths,
    #[error("both content-length and transfer-encoding")]
    BothFramings,
    #[error("a content-length that is not a number")]
    ContentLength,
    #[error("a transfer-encoding other than chunked")]
    TransferEncoding,
    #[error("a chunk that is not framed as such")]
    Chunk,
    #[error("a line that is too long")]
    LineTooLong,
    #[error("a fragment in the target")]
    Fragment,
    #[error("a method that is too long")]
    Method,
}

/// Where in the byte stream the guard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a request line.
    Start,
    /// In the header lines.
    Fields,
    /// In a body with so many bytes to come.
    Body(u64),
    /// At a chunk-size line.
    ChunkSize,
    /// In chunk data with so many bytes to come.
    ChunkData(u64),
    /// At the CR LF behind chunk data.
    ChunkEnd,
    /// In the lines behind the last chunk.
    Trailers,
    /// Behind a request that asks for an upgrade: what follows is HTTP or not, as its answer says.
    Held,
    /// The message was refused.
    Refused(Ambiguity),
}

/// The longest line: beyond it the parser's own limit on heads has long refused the message.
const MAX_LINE: usize = 1024 * 1024;
/// The longest chunk-size line, extensions included.
const MAX_CHUNK_LINE: usize = 4096;
/// The longest method; no registered one is half as long.
const MAX_METHOD: usize = 64;

/// Follows the framing of the requests on one connection.
#[derive(Debug)]
pub(super) struct Guard {
    state: State,
    content_length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    /// Length of the latest request line.
    request_line: usize,
}

impl Guard {
    pub(super) fn new() -> Self {
        let (state, line) = (State::Start, Vec::new());
        Self { state, content_length: None, chunked: false, upgrade: false, line, request_line: 0 }
    }

    /// Why the connection's last message was refused, if it was.
    pub(super) fn refused(&self) -> Option<Ambiguity> {
        match self.state {
            State::Refused(why) => Some(why),
            _ => None,
        }
    }

    /// Whether the stream stands within a request head.
    pub(super) fn in_head(&self) -> bool {
        self.state == State::Fields || (self.state == State::Start && !self.line.is_empty())
    }

    /// The length of the request line that came last, or of what has come of it.
    pub(super) fn request_line(&self) -> usize {
        if self.state == State::Start { self.request_line.max(self.line.len()) } else { self.request_line }
    }

    /// Whether the stream stands between two messages.
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Start | State::Held) && self.line.is_empty()
    }

    /// Whether what follows belongs to HTTP only if an upgrade is refused.
    pub(super) fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// The answer to the request for an upgrade was none: HTTP follows.
    pub(super) fn release(&mut self) {
        self.state = State::Start;
    }

    /// Follows newly read bytes; overwrites what must not reach the parser. Says how many it may have now: what is
    /// behind a request for an upgrade waits.
    pub(super) fn inspect(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.state == State::Held {
                return at;
            }
            match self.advance(rest) {
                Ok(used) => at += used,
                Err((offset, why)) => {
                    self.refuse(why);
                    if let Some(rest) = bytes.get_mut(at + offset..) {
                        rest.fill(0);
                    }
                    return bytes.len();
                }
            }
        }
        bytes.len()
    }

    #[cold]
    fn refuse(&mut self, why: Ambiguity) {
        if !matches!(self.state, State::Refused(_)) {
            observe::count_ambiguous_request();
            tracing::debug!(reason = %why, "ambiguous request refused");
        }
        self.state = State::Refused(why);
    }

    /// Takes the bytes up to the next step; an error has the offset of the byte that is wrong.
    fn advance(&mut self, rest: &[u8]) -> Result<usize, (usize, Ambiguity)> {
        match self.state {
            State::Refused(why) => Err((0, why)),
            State::Held => Ok(0),
            State::Body(left) => {
                let used = within(left, rest);
                self.state = if left == used as u64 { State::Start } else { State::Body(left - used as u64) };
                Ok(used)
            }
            State::ChunkData(left) => {
                let used = within(left, rest);
                self.state = if left == used as u64 { State::ChunkEnd } else { State::ChunkData(left - used as u64) };
                Ok(used)
            }
            State::Start | State::Fields | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                self.take_lines(rest)
            }
        }
    }

    /// Takes the lines up to the end of the head or whatever else is read by lines.
    fn take_lines(&mut self, rest: &[u8]) -> Result<usize, (usize, Ambiguity)> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', rest) {
            let line = rest.get(start..end).unwrap_or_default();
            start = end + 1;
            if self.state == State::Fields && self.line.is_empty() && frames_nothing(line) {
                continue;
            }
            self.take_line(line).map_err(|why| (end, why))?;
            if !self.reads_lines() {
                return Ok(start);
            }
        }
        self.line.extend_from_slice(rest.get(start..).unwrap_or_default());
        let max = if self.state == State::ChunkSize { MAX_CHUNK_LINE } else { MAX_LINE };
        if self.line.len() > max {
            return Err((start, Ambiguity::LineTooLong));
        }
        let endless = self.state == State::Start
            && self.line.get(..=MAX_METHOD).is_some_and(|method| memchr::memchr(b' ', method).is_none());
        if endless { Err((start, Ambiguity::Method)) } else { Ok(rest.len()) }
    }

    /// Takes the end of a line, whose beginning may have come before.
    fn take_line(&mut self, part: &[u8]) -> Result<(), Ambiguity> {
        if self.line.is_empty() {
            return self.line_ended(part);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(part);
        self.line_ended(&line)
    }

    fn reads_lines(&self) -> bool {
        !matches!(self.state, State::Body(_) | State::ChunkData(_) | State::Held | State::Refused(_))
    }

    /// Takes one line, without its LF.
    fn line_ended(&mut self, line: &[u8]) -> Result<(), Ambiguity> {
        let Some(line) = line.strip_suffix(b"\r") else { return Err(Ambiguity::BareLineFeed) };
        match self.state {
            State::Start if line.is_empty() => {}
            State::Start => {
                check_request_line(line)?;
                self.content_length = None;
                self.chunked = false;
                self.request_line = line.len();
                self.upgrade = false;
                self.state = State::Fields;
            }
            State::Fields if line.is_empty() => self.head_ended(),
            State::Fields => self.field(line)?,
            State::ChunkSize => {
                self.state = match chunk_line::size(line).ok_or(Ambiguity::Chunk)? {
                    0 => State::Trailers,
                    size => State::ChunkData(size),
                }
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Ambiguity::Chunk),
            State::Trailers if line.is_empty() => self.state = State::Start,
            State::Trailers if line.starts_with(b" ") || line.starts_with(b"\t") => return Err(Ambiguity::Fold),
            State::Trailers | State::Body(_) | State::ChunkData(_) | State::Held | State::Refused(_) => {}
        }
        Ok(())
    }

    fn head_ended(&mut self) {
        self.state = match self.content_length {
            _ if self.chunked => State::ChunkSize,
            Some(length) if length > 0 => State::Body(length),
            _ if self.upgrade => State::Held,
            _ => State::Start,
        };
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Ambiguity> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Ambiguity::Fold);
        }
        self.upgrade |= value_of(line, b"upgrade").is_some();
        if let Some(value) = value_of(line, b"content-length") {
            self.content_length(value)?;
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguity::TransferEncoding);
            }
            self.chunked = true;
        }
        if self.chunked && self.content_length.is_some() { Err(Ambiguity::BothFramings) } else { Ok(()) }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Ambiguity> {
        if self.content_length.is_some() {
            return Err(Ambiguity::ContentLengths);
        }
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        self.content_length = Some(number.ok_or(Ambiguity::ContentLength)?);
        Ok(())
    }
}

/// Whether a line of a head, without its LF, is well ended and no field that [`Guard::field`] looks at: most are not.
fn frames_nothing(line: &[u8]) -> bool {
    matches!(line, [first, .., b'\r'] if !b" \tcCtTuU".contains(first))
}

/// What a field of that name says.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // Most fields fail at the colon's place already.
    let value = line.get(name.len()..)?.strip_prefix(b":")?;
    line.get(..name.len()).filter(|found| found.eq_ignore_ascii_case(name)).map(|_| value.trim_ascii())
}

/// What the parser would not mind: a method of any length, and a fragment, which it drops.
fn check_request_line(line: &[u8]) -> Result<(), Ambiguity> {
    let method_end = memchr::memchr(b' ', line).unwrap_or(line.len());
    if method_end > MAX_METHOD {
        return Err(Ambiguity::Method);
    }
    let target = line.get(method_end..).unwrap_or_default();
    memchr::memchr(b'#', target).map_or(Ok(()), |_| Err(Ambiguity::Fragment))
}

fn within(left: u64, rest: &[u8]) -> usize {
    usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the guard says of a byte stream, whole and in pieces of every size.
    fn inspect(stream: &[u8]) -> Option<Ambiguity> {
        let verdict = |piece: usize| {
            let mut guard = Guard::new();
            for bytes in stream.chunks(piece) {
                let mut copy = bytes.to_vec();
                let before = guard.refused();
                guard.inspect(&mut copy);
                assert_eq!(copy == bytes, before.is_none() && guard.refused().is_none(), "{:?}", guard.state);
            }
            guard.refused()
        };
        let whole = verdict(stream.len());
        for piece in 1..stream.len().min(40) {
            assert_eq!(verdict(piece), whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn well_framed_requests_pass_untouched() {
        for stream in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 7\r\n\r\na\nb\r\n\nxGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab\n\n\r\nA;x=y\r\n0123456789\r\n0\r\nt: v\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding:\tChunked \r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(inspect(stream), None, "{}", String::from_utf8_lossy(stream));
        }
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\n";
        let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
        for (stream, expected) in [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), Ambiguity::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), Ambiguity::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\r\n x\r\n\r\n".into(), Ambiguity::Fold),
            (format!("{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"), Ambiguity::ContentLengths),
            (format!("{post}Content-Length: 5, 5\r\n\r\n"), Ambiguity::ContentLength),
            (format!("{post}Content-Length: +5\r\n\r\n"), Ambiguity::ContentLength),
            (format!("{post}Content-Length: \r\n\r\n"), Ambiguity::ContentLength),
            (format!("{post}Content-Length: 99999999999999999999\r\n\r\n"), Ambiguity::ContentLength),
            (format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), Ambiguity::BothFramings),
            (format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), Ambiguity::BothFramings),
            (format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"), Ambiguity::TransferEncoding),
            (format!("{post}Transfer-Encoding: xchunked\r\n\r\n"), Ambiguity::TransferEncoding),
            (
                format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Ambiguity::TransferEncoding,
            ),
            (format!("{chunked}0x5\r\nabcde\r\n0\r\n\r\n"), Ambiguity::Chunk),
            (format!("{chunked}5\nabcde\r\n0\r\n\r\n"), Ambiguity::BareLineFeed),
            (format!("{chunked}5 \r\nabcde\r\n0\r\n\r\n"), Ambiguity::Chunk),
            (format!("{chunked}5;\r\nabcde\r\n0\r\n\r\n"), Ambiguity::Chunk),
            (format!("{chunked}5;a\x01\r\nabcde\r\n0\r\n\r\n"), Ambiguity::Chunk),
            (format!("{chunked}5\r\nabcdefg\r\n0\r\n\r\n"), Ambiguity::Chunk),
            (format!("{chunked}10000000000000000\r\n"), Ambiguity::Chunk),
            (format!("{chunked}0\r\nA: b\r\n c\r\n\r\n"), Ambiguity::Fold),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Ambiguity::Fragment),
            ("A".repeat(65), Ambiguity::Method),
        ] {
            assert_eq!(inspect(stream.as_bytes()), Some(expected), "{stream}");
        }
    }
}
