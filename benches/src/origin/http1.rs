//! HTTP/1.1, as far as a proxy sends it to an origin.
//!
//! **Invariant:** a request's body is read to its end before the answer.

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::work::{LARGE, SMALL};

const BUFFER: usize = 64 << 10;

pub(super) async fn answer(mut connection: TcpStream) -> Result<()> {
    let (small, large) = (response(SMALL), response(LARGE));
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        while let Some(head) = Head::parse(&buffer[..filled])? {
            skip_body(&mut connection, &mut buffer, &mut filled, &head).await?;
            connection.write_all(if head.large { &large } else { &small }).await?;
        }
        let read = connection.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
    }
}

fn response(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\ncontent-type: text/plain\r\ncontent-length: {bytes}\r\n\
         cache-control: no-store\r\netag: \"5f2b8c1e\"\r\n\r\n"
    );
    [head.into_bytes(), vec![b'x'; bytes]].concat()
}

/// What an answer depends on.
struct Head {
    bytes: usize,
    body: Body,
    large: bool,
}

enum Body {
    Length(usize),
    Chunked,
}

impl Head {
    /// `None` until it is whole.
    fn parse(buffer: &[u8]) -> Result<Option<Self>> {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(bytes) = request.parse(buffer)? else { return Ok(None) };
        let large = request.path.context("no path")?.ends_with("large");
        let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let body = match field("content-length") {
            Some(length) => Body::Length(std::str::from_utf8(length.value)?.parse()?),
            None if field("transfer-encoding").is_some() => Body::Chunked,
            None => Body::Length(0),
        };
        Ok(Some(Self { bytes, body, large }))
    }
}

/// Leaves what follows the request at the buffer's start.
async fn skip_body(connection: &mut TcpStream, buffer: &mut [u8], filled: &mut usize, head: &Head) -> Result<()> {
    buffer.copy_within(head.bytes..*filled, 0);
    *filled -= head.bytes;
    match head.body {
        Body::Length(bytes) => skip_bytes(connection, buffer, filled, bytes).await,
        Body::Chunked => skip_chunks(connection, buffer, filled).await,
    }
}

async fn skip_bytes(connection: &mut TcpStream, buffer: &mut [u8], filled: &mut usize, mut bytes: usize) -> Result<()> {
    while bytes > *filled {
        bytes -= *filled;
        *filled = connection.read(buffer).await?;
        if *filled == 0 {
            bail!("a body broke off");
        }
    }
    buffer.copy_within(bytes..*filled, 0);
    *filled -= bytes;
    Ok(())
}

/// Nothing is behind the last chunk: the proxies wait for the answer.
async fn skip_chunks(connection: &mut TcpStream, buffer: &mut [u8], filled: &mut usize) -> Result<()> {
    const END: &[u8] = b"0\r\n\r\n";
    while !buffer[..*filled].ends_with(END) {
        let kept = (*filled).min(END.len());
        buffer.copy_within(*filled - kept..*filled, 0);
        let read = connection.read(&mut buffer[kept..]).await?;
        if read == 0 {
            bail!("a body broke off");
        }
        *filled = kept + read;
    }
    *filled = 0;
    Ok(())
}
