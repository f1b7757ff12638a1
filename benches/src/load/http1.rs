//! HTTP/1.1, as far as a proxy answers it; without a library, so that the load leaves its core to the origin.

use std::{fmt, str};

use anyhow::{Context, Result, bail, ensure};
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const BUFFER: usize = 64 << 10;

/// What a connection runs over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A kept-alive connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Box<[u8]>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: vec![0; BUFFER].into() }
    }

    /// Sends a request and reads the whole response, whose body has so many bytes.
    pub(super) async fn exchange(&mut self, request: &[u8], bytes: usize) -> Result<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            if let Some(head) = head_bytes(&self.buffer[..filled], bytes)? {
                break head;
            }
        };
        let mut body = filled - head;
        while body < bytes {
            body += self.read(0).await?;
        }
        ensure!(body == bytes, "{} bytes behind a response", body - bytes);
        Ok(())
    }

    /// Ends it in good order.
    pub(super) async fn close(mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    async fn read(&mut self, filled: usize) -> Result<usize> {
        let read = self.stream.read(&mut self.buffer[filled..]).await?;
        ensure!(read > 0, "a response broke off");
        Ok(read)
    }
}

/// How long the head is; `None` until it is whole.
fn head_bytes(buffer: &[u8], body: usize) -> Result<Option<usize>> {
    let mut fields = [EMPTY_HEADER; 64];
    let mut response = Response::new(&mut fields);
    let Status::Complete(bytes) = response.parse(buffer)? else { return Ok(None) };
    let status = response.code.context("no status")?;
    ensure!(status == 200, "the proxy answered {status}");
    let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = length else { bail!("a response without length") };
    let length: usize = str::from_utf8(length.value)?.parse()?;
    ensure!(length == body, "a response of {length} bytes");
    Ok(Some(bytes))
}
