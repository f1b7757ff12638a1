//! What the HTTP/1 parser answers by itself: 400, 414 and 431 for a head that it cannot or will not read.
//!
//! The parser leaves no other place to have a say: its answer, without a body and before any exchange, is replaced on
//! its way to the client by a refusal like any other, which is counted and logged.
//!
//! **Invariant:** a response of an exchange is never touched.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use http::{Response, StatusCode, header};
use http_body::Body;
use meshup_abi::ErrorKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Connection, guarded::Guarded};
use crate::exchange;

/// Whether a response could be taken for one that the parser made.
pub(super) fn is_bare(response: &Response<impl Body>) -> bool {
    let framing = [header::CONNECTION, header::CONTENT_LENGTH, header::DATE];
    kind(response.status().as_u16(), false).is_some()
        && response.body().is_end_stream()
        && response.headers().keys().all(|name| framing.contains(name))
}

/// Why the parser answers with this status.
fn kind(status: u16, target_too_long: bool) -> Option<ErrorKind> {
    match status {
        400 => Some(ErrorKind::BadRequest),
        414 => Some(ErrorKind::UriTooLong),
        431 if target_too_long => Some(ErrorKind::UriTooLong),
        431 => Some(ErrorKind::HeadersTooLarge),
        _ => None,
    }
}

/// How every such answer begins, and few others do.
const CLIENT_ERROR: &[u8] = b"HTTP/1.1 4";

/// The status and the date of the parser's answer; none when the bytes are something else.
fn read(bytes: &[u8]) -> Option<(StatusCode, &str)> {
    let rest = bytes.strip_prefix(CLIENT_ERROR)?;
    let (status, rest) = std::str::from_utf8(rest).ok()?.split_once("\r\n")?;
    let status = status.get(..2)?.parse::<u16>().ok()?.checked_add(400)?;
    let fields = rest.strip_prefix("connection: close\r\ncontent-length: 0\r\ndate: ")?;
    let (date, end) = fields.split_once("\r\n")?;
    (end == "\r\n").then_some((StatusCode::from_u16(status).ok()?, date))
}

/// A client's byte stream whose parser answers as the host does.
pub(super) struct Answering<S> {
    stream: Guarded<S>,
    connection: Rc<Connection>,
    /// What is written instead of the parser's answer.
    answer: Option<Answer>,
}

struct Answer {
    bytes: Vec<u8>,
    written: usize,
}

impl<S> Answering<S> {
    pub(super) fn new(stream: Guarded<S>, connection: Rc<Connection>) -> Self {
        Self { stream, connection, answer: None }
    }

    /// The stream without its answers.
    pub(super) fn into_inner(self) -> Guarded<S> {
        self.stream
    }

    /// Notes what to write instead when the parser is writing its answer.
    #[inline]
    fn look_at(&mut self, bytes: &[u8]) {
        if !bytes.starts_with(CLIENT_ERROR) || self.answer.is_some() {
            return;
        }
        match read(bytes) {
            Some((status, date)) => self.replace(status, date),
            None => self.connection.answered_barely.set(false),
        }
    }

    #[cold]
    fn replace(&mut self, status: StatusCode, date: &str) {
        let target_too_long = self.stream.request_line() >= self.connection.listener.limits.max_header_bytes;
        let Some(kind) = kind(status.as_u16(), target_too_long) else { return };
        if self.connection.answered_barely.take() {
            return;
        }
        let response = exchange::refused(&self.connection, kind, exchange::status(kind));
        self.answer = Some(Answer { bytes: on_the_wire(&response, date), written: 0 });
    }
}

fn on_the_wire(response: &Response<bytes::Bytes>, date: &str) -> Vec<u8> {
    let (status, body) = (response.status(), response.body());
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\ndate: {date}\r\n", body.len())
            .into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_ref());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

impl Answer {
    fn poll_write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Answering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Answering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.look_at(bytes);
        let Self { stream, answer, .. } = &mut *self;
        match answer {
            None => Pin::new(stream).poll_write(cx, bytes),
            Some(answer) => answer.poll_write(stream, cx).map_ok(|()| bytes.len()),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [slice] => self.poll_write(cx, slice),
            slices => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn only_the_parsers_own_answer_is_recognised() {
        let own =
            |line: &str| format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\ndate: {DATE}\r\n\r\n");
        for (line, status) in [("400 Bad Request", 400), ("431 Request Header Fields Too Large", 431)] {
            assert_eq!(read(own(line).as_bytes()), Some((StatusCode::from_u16(status).unwrap(), DATE)));
        }
        assert_eq!(read(own("200 OK").as_bytes()), None);
        assert_eq!(read((own("400 Bad Request") + "x").as_bytes()), None);
        assert_eq!(read(own("400 Bad Request").replace("date", "server: a\r\ndate").as_bytes()), None);
        assert_eq!(read(own("400 Bad Request").replace("connection: close\r\n", "").as_bytes()), None);
    }

    #[test]
    fn a_relayed_response_may_look_the_same() {
        let relayed = |status: u16, header: &str| {
            let response = Response::builder().status(status).header("date", DATE).header(header, "0");
            is_bare(&response.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap())
        };
        assert!(relayed(400, "content-length") && relayed(431, "content-length"));
        assert!(!relayed(200, "content-length") && !relayed(400, "server"));
    }
}
