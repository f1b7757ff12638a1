//! A request kept in case its connection proves stale: the bytes that were written, because that is one copy per request,
//! and they are read again for hardly any.
//!
//! **Invariant:** what is sent again is what was sent, and it is only sent again when that does no harm.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use http::{Method, Request};
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::body::RequestBody;

/// A longer head is not kept.
const MAX_BYTES: usize = 64 * 1024;
/// What a connection keeps for its next request.
const KEPT_CAPACITY: usize = 4 * 1024;
/// Fields of a head that is read again; the proxy has added some to the client's.
const MAX_FIELDS: usize = 512;

/// Whether sending a request again does no harm: it has no body and its method is idempotent (RFC 9110 section 9.2.2).
fn may_be_sent_again(request: &Request<RequestBody>) -> bool {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    idempotent && matches!(request.body(), RequestBody::Empty)
}

/// What was written on a connection since its last request began.
///
/// Both who writes and who asks are tasks of one thread, so the lock is never waited for: hyper demands of a connection
/// that may be upgraded that it can go to another thread.
#[derive(Debug, Default)]
pub(super) struct Record(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    keeps: bool,
    taken: usize,
    bytes: Vec<u8>,
}

impl Record {
    /// A request is about to be written: it is kept if it may be sent again.
    pub(super) fn begin(&self, request: &Request<RequestBody>) {
        let mut written = self.written();
        written.keeps = may_be_sent_again(request);
        written.taken = 0;
        written.bytes.clear();
    }

    /// The request once more, if it was kept.
    pub(super) fn request(&self) -> Option<Request<RequestBody>> {
        let written = self.written();
        if written.keeps { parse(&written.bytes) } else { None }
    }

    /// It was answered: a long one is not kept until the connection's next.
    pub(super) fn end(&self) {
        let mut written = self.written();
        written.keeps = false;
        if written.bytes.capacity() > KEPT_CAPACITY {
            written.bytes = Vec::new();
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// What is offered counts, not only what is taken: a dead connection takes nothing.
    fn offer<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) {
        if !self.keeps {
            return;
        }
        self.bytes.truncate(self.taken);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.keeps = self.bytes.len() <= MAX_BYTES;
    }

    fn take(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written {
            self.taken += count;
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Request<RequestBody>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    if head.parse(bytes).ok()?.is_partial() {
        return None;
    }
    let request = Request::builder().method(head.method?).uri(head.path?);
    let request = head.headers.iter().fold(request, |request, field| request.header(field.name, field.value));
    request.body(RequestBody::Empty).ok()
}

/// A connection whose writing is recorded.
#[derive(Debug)]
pub(super) struct Recorded<T> {
    io: T,
    record: Arc<Record>,
}

impl<T> Recorded<T> {
    pub(super) fn new(io: T, record: Arc<Record>) -> Self {
        Self { io, record }
    }
}

impl<T: Read + Unpin> Read for Recorded<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Recorded<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, record } = &mut *self;
        let mut record = record.written();
        record.offer(std::iter::once(buf));
        let written = Pin::new(io).poll_write(cx, buf);
        record.take(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, record } = &mut *self;
        let mut record = record.written();
        record.offer(bufs.iter().map(|buf| &**buf));
        let written = Pin::new(io).poll_write_vectored(cx, bufs);
        record.take(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /a?b HTTP/1.1\r\nx-one: 1\r\nx-one: 2\r\naccept: */*\r\n\r\n";

    fn request(method: &str, body: RequestBody) -> Request<RequestBody> {
        let request = Request::builder().method(method).uri("/a?b").header("x-one", "1").header("x-one", "2");
        request.header("accept", "*/*").body(body).expect("a valid request")
    }

    fn offer(record: &Record, bytes: &[u8]) {
        record.written().offer(std::iter::once(bytes));
    }

    #[test]
    fn what_is_kept_is_what_was_sent() {
        let (record, sent) = (Record::default(), request("GET", RequestBody::Empty));
        for _ in 0..2 {
            record.begin(&sent);
            let (first, rest) = HEAD.split_at(20);
            offer(&record, HEAD);
            record.written().take(&Poll::Ready(Ok(first.len())));
            offer(&record, rest);
            let again = record.request().expect("a GET may be sent again");
            assert_eq!((again.method(), again.uri()), (sent.method(), sent.uri()));
            assert_eq!(again.headers(), sent.headers());
        }
    }

    #[test]
    fn what_might_do_harm_is_not_kept() {
        for sent in [request("POST", RequestBody::Empty), request("PUT", RequestBody::Full("x".into()))] {
            let record = Record::default();
            record.begin(&sent);
            offer(&record, HEAD);
            assert!(record.request().is_none());
        }
    }

    #[test]
    fn what_was_not_written_or_is_too_long_is_not_kept() {
        let record = Record::default();
        record.begin(&request("GET", RequestBody::Empty));
        assert!(record.request().is_none());
        offer(&record, &vec![b'a'; MAX_BYTES + 1]);
        assert!(record.request().is_none());
    }
}
