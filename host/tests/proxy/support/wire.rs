//! A connection byte by byte, for what a well-behaved HTTP library would not send or would not show.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::soon;

/// One end of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An HTTP/1 message as it stood on the wire, its body without framing.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    /// The only value of a field; none when it is absent.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|field| field.0 == name).map(|field| &*field.1);
        let value = values.next();
        assert_eq!(values.next(), None, "more than one {name}: {self:?}");
        value
    }

    /// The status code of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(soon("a connection", TcpStream::connect(address)).await.unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("a write", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends nothing more.
    pub(crate) async fn end(&mut self) {
        soon("the end of writing", self.stream.shutdown()).await.unwrap();
    }

    /// Sends what is taken at once or soon; none when nobody takes more.
    pub(crate) async fn offer(&mut self, bytes: &[u8]) -> Option<usize> {
        let write = tokio::time::timeout(std::time::Duration::from_millis(300), self.stream.write(bytes));
        write.await.ok().map(|written| written.unwrap())
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let wait = tokio::time::timeout(std::time::Duration::from_millis(100), self.stream.read_buf(&mut self.read));
        wait.await.is_err()
    }

    /// Sends to someone who may have closed the connection already.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon("a write", self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Ends this side; the other can still be read.
    pub(crate) async fn finish(&mut self) {
        let _ = soon("an end", self.stream.shutdown()).await;
    }

    /// Closes with a reset instead of an end.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// More bytes; false at the end of the stream or its reset.
    async fn more(&mut self) -> bool {
        matches!(soon("bytes", self.stream.read_buf(&mut self.read)).await, Ok(1..))
    }

    /// Whatever is there next, up to so many bytes.
    pub(crate) async fn some_of(&mut self, bytes: usize) -> Option<Vec<u8>> {
        self.read.reserve(bytes);
        self.some().await
    }

    /// Whatever comes next; none at the end.
    pub(crate) async fn some(&mut self) -> Option<Vec<u8>> {
        self.more().await.then(|| std::mem::take(&mut self.read))
    }

    /// Everything up to and with `end`; none when the stream ends before.
    pub(crate) async fn through(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return Some(String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next `len` bytes.
    pub(crate) async fn take(&mut self, len: usize) -> Vec<u8> {
        while self.read.len() < len {
            assert!(self.more().await, "the stream ended after {:?}", String::from_utf8_lossy(&self.read));
        }
        let rest = self.read.split_off(len);
        std::mem::replace(&mut self.read, rest)
    }

    /// Everything until the stream ends or is reset.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    /// A message's head; none when the stream ends before.
    pub(crate) async fn head(&mut self) -> Option<Message> {
        let head = self.through("\r\n\r\n").await?;
        let mut lines = head.trim_end().split("\r\n");
        let start = lines.next().unwrap().into();
        Some(Message { start, fields: lines.map(field).collect(), ..Message::default() })
    }

    /// A message with its body; none when the stream ends before its head.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        if message.field("transfer-encoding").is_some() {
            self.chunks(&mut message).await;
        } else if let Some(length) = message.field("content-length") {
            message.body = self.take(length.parse().unwrap()).await;
        }
        Some(message)
    }

    async fn chunks(&mut self, message: &mut Message) {
        loop {
            let line = self.through("\r\n").await.expect("a chunk size");
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            if size == 0 {
                break;
            }
            message.body.extend(self.take(size).await);
            assert_eq!(self.take(2).await, b"\r\n");
        }
        loop {
            let line = self.through("\r\n").await.expect("the end of the trailers");
            if line == "\r\n" {
                return;
            }
            message.trailers.push(field(line.trim_end()));
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap();
    (name.to_ascii_lowercase(), value.trim().into())
}
