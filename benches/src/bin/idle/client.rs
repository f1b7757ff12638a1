//! The client: connections of one kind, each idle once it is open.
//!
//! **Invariant:** a connection that is handed out has had its answer, where its kind asks for something.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use anyhow::{Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, client::Resumption, crypto::aws_lc_rs};

use meshup_benches::work::SMALL;

use crate::proxy::Proxy;

/// What a connection does before it is idle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Silent,
    Http1,
    TlsSilent,
    Tls,
    TlsResumed,
    Http2Silent,
    Http2,
    Http2Browser,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Silent,
        Self::Http1,
        Self::TlsSilent,
        Self::Tls,
        Self::TlsResumed,
        Self::Http2Silent,
        Self::Http2,
        Self::Http2Browser,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Silent => "clear, no request",
            Self::Http1 => "HTTP/1.1",
            Self::TlsSilent => "TLS, no request",
            Self::Tls => "TLS",
            Self::TlsResumed => "TLS, resumed",
            Self::Http2Silent => "h2c, no request",
            Self::Http2 => "h2c",
            Self::Http2Browser => "h2c, browser's request",
        }
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::TlsSilent | Self::Tls | Self::TlsResumed)
    }
}

/// A connection that stays open until it is dropped.
pub(crate) type Connection = Box<dyn Stream>;

pub(crate) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// Opens connections to the proxy.
pub(crate) struct Client {
    kind: Kind,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(proxy: &Proxy, kind: Kind) -> Result<Self> {
        let address = if kind.is_tls() { proxy.tls } else { proxy.clear };
        Ok(Self { kind, address, tls: Arc::new(tls(proxy, kind)?) })
    }

    pub(crate) fn open(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let mut stream: Connection =
            if self.kind.is_tls() { Box::new(self.shake_hands(stream)?) } else { Box::new(stream) };
        match self.kind {
            Kind::Silent | Kind::TlsSilent => {}
            Kind::Http1 | Kind::Tls | Kind::TlsResumed => http1(&mut stream)?,
            Kind::Http2Silent => http2(&mut stream, &[], SETTINGS)?,
            Kind::Http2 => http2(&mut stream, HTTP2_REQUEST, DATA)?,
            Kind::Http2Browser => http2(&mut stream, HTTP2_BROWSER_REQUEST, DATA)?,
        }
        Ok(stream)
    }

    fn shake_hands(&self, mut stream: TcpStream) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut connection = ClientConnection::new(self.tls.clone(), "localhost".try_into()?)?;
        while connection.is_handshaking() || connection.wants_write() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

fn tls(proxy: &Proxy, kind: Kind) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(proxy.certificate.clone())?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    if kind != Kind::TlsResumed {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

fn http1(stream: &mut impl Stream) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n")?;
    let (mut response, mut buffer) = (Vec::new(), [0; 4096]);
    while !response.ends_with(&[b'x'; SMALL]) {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the proxy closed the connection after {:?}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&buffer[..read]);
    }
    Ok(())
}

/// Preface and empty SETTINGS (RFC 9113 section 3.4).
const HTTP2_BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
/// HEADERS of `GET /` of the authority `a` that end stream 1.
const HTTP2_REQUEST: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
/// The same of `www.example.com` with `cache-control: no-cache` and two fields more, Huffman-coded and indexed as browsers
/// do it (RFC 7541 appendix C.4).
const HTTP2_BROWSER_REQUEST: &[u8] = b"\0\0\x2d\x01\x05\0\0\0\x01\x82\x86\x84\
    \x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x58\x86\xa8\xeb\x10\x64\x9c\xbf\
    \x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;

/// Sends a request, and reads until a frame of this kind that ends a stream; the acknowledgement of SETTINGS has the same
/// flag.
fn http2(stream: &mut impl Stream, request: &[u8], last: u8) -> Result<()> {
    stream.write_all(&[HTTP2_BEGINNING, request].concat())?;
    stream.write_all(SETTINGS_ACK)?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        stream.read_exact(&mut payload)?;
        match (kind, flags & END_STREAM) {
            (kind, END_STREAM) if kind == last => return Ok(()),
            (3 | 7, _) => bail!("the proxy refused the stream: {payload:?}"),
            _ => {}
        }
    }
}
