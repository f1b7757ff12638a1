//! Where the body of a response ends, and what of it is data (RFC 9112 sections 6 and 7).
//!
//! It reads nothing: it is given what was read.
//!
//! **Invariant:** a body ends where its framing says, and nowhere else.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::{MAX_FIELDS, Malformed};

/// How many bytes of chunk extensions there may be more than data, and the most bytes of trailers.
const MAX_ASIDE: usize = 16 * 1024;
/// Chunks below it are joined with those that are at hand: what is made for a piece of a body must not outweigh it.
const SHORT: usize = 1024;

/// What is left of a body.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// Where in a chunked body one is.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of chunk extensions that no data made up for.
    aside: usize,
}

/// What comes next of a chunked body.
#[derive(Debug, Clone, Copy)]
enum At {
    /// The line before a chunk.
    Size,
    /// So much of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
    /// Nothing.
    End,
}

/// What comes of what was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// More must be read first.
    Nothing,
    Data(Bytes),
    /// The last of a body.
    Trailers(HeaderMap),
    End,
}

impl Decoder {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks { at: At::Size, aside: 0 })
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks { at: At::End, .. }))
    }

    /// The peer sends no more; whether that ends the body.
    pub(super) fn close(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Length(0);
        }
        self.is_over()
    }

    /// Takes what comes next off what was read.
    ///
    /// # Errors
    /// The framing is broken.
    pub(super) fn decode(&mut self, read: &mut Bytes) -> Result<Decoded, Malformed> {
        match self {
            Self::Length(0) => Ok(Decoded::End),
            Self::Length(left) => Ok(take(left, read).map_or(Decoded::Nothing, Decoded::Data)),
            Self::UntilClose if read.is_empty() => Ok(Decoded::Nothing),
            Self::UntilClose => Ok(Decoded::Data(std::mem::take(read))),
            Self::Chunked(chunks) => chunks.decode(read),
        }
    }
}

/// At most so much of what was read.
fn take(left: &mut u64, read: &mut Bytes) -> Option<Bytes> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left -= count as u64;
    (count > 0).then(|| read.split_to(count))
}

/// Drops the beginning of what was read, and with its last byte the block.
fn skip(read: &mut Bytes, count: usize) {
    read.advance(count);
    if read.is_empty() {
        *read = Bytes::new();
    }
}

impl Chunks {
    fn decode(&mut self, read: &mut Bytes) -> Result<Decoded, Malformed> {
        self.pass(read)?;
        match self.at {
            At::Chunk(_) => Ok(match self.piece(read) {
                Some(piece) if piece.len() < SHORT && self.is_at_short() => Decoded::Data(self.joined(&piece, read)),
                Some(piece) => Decoded::Data(piece),
                None => Decoded::Nothing,
            }),
            At::Trailers => self.trailers(read),
            At::End => Ok(Decoded::End),
            At::Size | At::ChunkEnd => Ok(Decoded::Nothing),
        }
    }

    /// What is at hand of a chunk, and past its end.
    fn piece(&mut self, read: &mut Bytes) -> Option<Bytes> {
        let At::Chunk(left) = &mut self.at else { return None };
        let piece = take(left, read);
        if *left == 0 {
            self.at = At::ChunkEnd;
            // What is at hand may say that this was the last chunk. If it is malformed, it stays for the next time.
            let _ = self.pass(read);
        }
        piece
    }

    fn is_at_short(&self) -> bool {
        matches!(self.at, At::Chunk(left) if left < SHORT as u64)
    }

    /// A piece and the short ones behind it.
    #[cold]
    fn joined(&mut self, first: &[u8], read: &mut Bytes) -> Bytes {
        let mut joined = first.to_vec();
        while self.is_at_short()
            && let Some(piece) = self.piece(read)
        {
            joined.extend_from_slice(&piece);
        }
        joined.into_boxed_slice().into()
    }

    /// Passes over what is neither data nor trailers.
    fn pass(&mut self, read: &mut Bytes) -> Result<(), Malformed> {
        loop {
            self.at = match self.at {
                At::ChunkEnd | At::Trailers if read.starts_with(b"\r\n") => {
                    skip(read, 2);
                    if matches!(self.at, At::Trailers) { At::End } else { At::Size }
                }
                At::ChunkEnd if !b"\r\n".starts_with(read) => return Err(Malformed),
                At::Size => match self.size(read)? {
                    Some(0) => At::Trailers,
                    Some(size) => At::Chunk(size),
                    None => return Ok(()),
                },
                At::Chunk(_) | At::ChunkEnd | At::Trailers | At::End => return Ok(()),
            }
        }
    }

    /// The size of the next chunk, once its line is there. Spaces behind it are common enough to be passed over, and
    /// extensions mean nothing here.
    fn size(&mut self, read: &mut Bytes) -> Result<Option<u64>, Malformed> {
        let digits = read.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits == 0 && !read.is_empty() {
            return Err(Malformed);
        }
        let Some(end) = read.iter().position(|byte| *byte == b'\n') else {
            return if self.aside + read.len() <= MAX_ASIDE { Ok(None) } else { Err(Malformed) };
        };
        let (size, behind) = read.get(..end).and_then(|line| line.split_at_checked(digits)).ok_or(Malformed)?;
        let behind = behind.strip_suffix(b"\r").ok_or(Malformed)?;
        let spaces = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let extensions = behind.get(spaces..).unwrap_or_default();
        self.aside += extensions.len();
        let is_valid = extensions.first().is_none_or(|byte| *byte == b';') && !extensions.contains(&b'\r');
        if !is_valid || self.aside > MAX_ASIDE {
            return Err(Malformed);
        }
        let size =
            std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok()).ok_or(Malformed)?;
        self.aside = self.aside.saturating_sub(usize::try_from(size).unwrap_or(usize::MAX));
        skip(read, end + 1);
        Ok(Some(size))
    }

    fn trailers(&mut self, read: &mut Bytes) -> Result<Decoded, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (len, fields) = match httparse::parse_headers(read, &mut fields).map_err(|_| Malformed)? {
            httparse::Status::Complete((len, fields)) if len <= MAX_ASIDE => (len, fields),
            httparse::Status::Partial if read.len() <= MAX_ASIDE => return Ok(Decoded::Nothing),
            _ => return Err(Malformed),
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
            trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?);
        }
        skip(read, len);
        self.at = At::End;
        Ok(Decoded::Trailers(trailers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a stream that arrives in pieces: the data, the trailers, what is left behind the body.
    fn decode(mut body: Decoder, stream: &[u8], piece: usize) -> Result<(Vec<u8>, usize, Vec<u8>), Malformed> {
        let (mut data, mut trailers) = (Vec::new(), 0);
        let mut read = Bytes::new();
        let mut pieces = stream.chunks(piece);
        loop {
            match body.decode(&mut read)? {
                Decoded::Data(more) => data.extend_from_slice(&more),
                Decoded::Trailers(fields) => trailers = fields.len(),
                Decoded::Nothing => match pieces.next() {
                    Some(more) => read = [&read, more].concat().into(),
                    None if body.close() => break,
                    None => return Err(Malformed),
                },
                Decoded::End => break,
            }
        }
        assert!(body.is_over());
        Ok((data, trailers, [&read, pieces.collect::<Vec<_>>().concat().as_slice()].concat()))
    }

    /// The same, whatever the pieces.
    fn decoded(body: impl Fn() -> Decoder, stream: &str) -> Result<(String, usize, String), Malformed> {
        let whole = decode(body(), stream.as_bytes(), stream.len().max(1));
        for piece in 1..stream.len() {
            assert_eq!(decode(body(), stream.as_bytes(), piece), whole, "{stream:?} in pieces of {piece}");
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        whole.map(|(data, trailers, left)| (text(data), trailers, text(left)))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let is = |data: &str, trailers, left: &str| Ok((data.into(), trailers, left.into()));
        assert_eq!(decoded(|| Decoder::Length(5), "hello"), is("hello", 0, ""));
        assert_eq!(decoded(|| Decoder::Length(4), "hello"), is("hell", 0, "o"));
        assert_eq!(decoded(|| Decoder::Length(0), "HTTP"), is("", 0, "HTTP"));
        assert_eq!(decoded(|| Decoder::UntilClose, "hello"), is("hello", 0, ""));
        for (stream, expected) in [
            ("0\r\n\r\n", is("", 0, "")),
            ("5\r\nhello\r\n0\r\n\r\nnext", is("hello", 0, "next")),
            ("2;a=b\r\nhe\r\n003 \r\nllo\r\n00 ; c d\r\n\r\n", is("hello", 0, "")),
            ("A\r\n0123456789\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\nnext", is("0123456789", 2, "next")),
        ] {
            assert_eq!(decoded(Decoder::chunked, stream), expected, "{stream:?}");
        }
    }

    #[test]
    fn what_breaks_off_or_breaks_the_rules_does_not_end() {
        assert_eq!(decoded(|| Decoder::Length(6), "hello"), Err(Malformed));
        for stream in [
            "",
            "5\r\nhello",
            "5\r\nhello\r\n",
            "5\r\nhello\r\n0\r\n",
            "5\r\nhello\r\n0\r\nx-a: 1\r\n",
            "5\nhello\n0\n\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloo\r\n0\r\n\r\n",
            "x\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "11111111111111111\r\nhello\r\n0\r\n\r\n",
            "5\rx\nhello\r\n0\r\n\r\n",
            "5;\rx\r\nhello\r\n0\r\n\r\n",
            "5\r\r\nhello\r\n0\r\n\r\n",
            "5 a\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nno field\r\n\r\n",
        ] {
            assert_eq!(decoded(Decoder::chunked, stream), Err(Malformed), "{stream:?}");
        }
    }

    #[test]
    fn what_is_beside_the_data_is_bounded() {
        let aside = "a".repeat(MAX_ASIDE);
        let extension = format!("1;{aside}\r\nx\r\n0\r\n\r\n");
        let extensions = format!("1;{}\r\nx\r\n", &aside[..MAX_ASIDE / 4]).repeat(5) + "0\r\n\r\n";
        let trailer = format!("0\r\na: {aside}\r\n\r\n");
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        for stream in [extension, extensions, trailer, trailers] {
            assert_eq!(decode(Decoder::chunked(), stream.as_bytes(), 100), Err(Malformed), "{:.20}", stream);
        }
    }

    #[test]
    fn padding_and_what_the_data_outweighs_is_not_bounded() {
        for line in ["1        ", "00000000000000000001", "8;sign=a"] {
            let size = line.trim().trim_start_matches('0')[..1].parse().unwrap();
            let body = format!("{line}\r\n{}\r\n", &"12345678"[..size]).repeat(MAX_ASIDE / 4) + "0\r\n\r\n";
            let (data, ..) = decode(Decoder::chunked(), body.as_bytes(), 4096).expect(line);
            assert_eq!(data.len(), size * MAX_ASIDE / 4, "{line}");
        }
    }

    #[test]
    fn short_chunks_are_given_together() {
        let long = "x".repeat(SHORT);
        let stream = format!("{}{SHORT:x}\r\n{long}\r\n{}x", "1\r\na\r\n".repeat(500), "2\r\nbb\r\n".repeat(500));
        let (mut body, mut read) = (Decoder::chunked(), Bytes::from(stream));
        for expected in ["a".repeat(500), long, "b".repeat(1000)] {
            assert_eq!(body.decode(&mut read), Ok(Decoded::Data(expected.into())));
        }
        assert_eq!(body.decode(&mut read), Err(Malformed));
    }

    #[test]
    fn data_before_a_fault_is_given() {
        let mut body = Decoder::chunked();
        let mut read = Bytes::from_static(b"2\r\nhi\r\nx\r\n");
        assert_eq!(body.decode(&mut read), Ok(Decoded::Data("hi".into())));
        assert_eq!(body.decode(&mut read), Err(Malformed));
    }

    #[test]
    fn the_last_data_is_known_to_be_the_last() {
        let mut body = Decoder::chunked();
        let mut read = Bytes::from_static(b"2\r\nhi\r\n0\r\n\r\n");
        assert_eq!(body.decode(&mut read), Ok(Decoded::Data("hi".into())));
        assert!(body.is_over() && read.is_empty());
    }
}
