//! The clients: kept-alive connections, a browser's header fields.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::TlsConnector;

/// The name that clients ask for.
pub(crate) const NAME: &str = "shop.example";
/// Connections, or streams of one connection, at a time.
const CONCURRENCY: usize = 16;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Requests of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    protocol: Protocol,
    tls: bool,
    path: &'static str,
    /// Bytes in a request's body; without one it is a GET.
    body: usize,
    requests: usize,
}

impl Work {
    pub(crate) const fn new(name: &'static str, protocol: Protocol, path: &'static str) -> Self {
        Self { name, protocol, tls: false, path, body: 0, requests: 0 }
    }

    pub(crate) const fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    pub(crate) const fn sending(self, body: usize) -> Self {
        Self { body, ..self }
    }

    pub(crate) const fn times(self, requests: usize) -> Self {
        Self { requests, ..self }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let method = if self.body > 0 { Method::POST } else { Method::GET };
        let scheme = if self.tls { "https" } else { "http" };
        let uri = match self.protocol {
            Protocol::Http1 => self.path.to_owned(),
            Protocol::Http2 => format!("{scheme}://{NAME}{}", self.path),
        };
        let request = headers(Request::builder().method(method).uri(uri));
        let request = if self.protocol == Protocol::Http1 { request.header("host", NAME) } else { request };
        let request = if self.path == "/grpc" { request.header("te", "trailers") } else { request };
        request.body(Full::new(Bytes::from(vec![b'x'; self.body]))).expect("a valid request")
    }
}

fn headers(request: request::Builder) -> request::Builder {
    const HEADERS: [(&str, &str); 11] = [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://shop.example/catalogue?page=2"),
        ("cookie", "session=5f2b8c1e9d7a4f6083b1c2d3e4f50617; theme=dark; consent=all"),
        ("upgrade-insecure-requests", "1"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("priority", "u=0, i"),
    ];
    HEADERS.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

/// Who brings the work to one proxy.
pub(crate) struct Client {
    plain: SocketAddr,
    tls: SocketAddr,
    root: CertificateDer<'static>,
}

impl Client {
    /// A client of the two listeners that trusts one certificate.
    pub(crate) const fn new(plain: SocketAddr, tls: SocketAddr, root: CertificateDer<'static>) -> Self {
        Self { plain, tls, root }
    }

    /// Brings `share` of the work, every request of it answered.
    pub(crate) async fn run(&self, work: &Work, share: f64) -> Result<()> {
        let each = ((work.requests as f64 * share / CONCURRENCY as f64) as usize).max(1);
        let mut clients = JoinSet::new();
        match work.protocol {
            Protocol::Http1 => {
                for _ in 0..CONCURRENCY {
                    let (sender, work) = (Sender::Http1(self.http1(work).await?), work.clone());
                    clients.spawn(ask(sender, work, each));
                }
            }
            Protocol::Http2 => {
                let sender = self.http2(work).await?;
                for _ in 0..CONCURRENCY {
                    clients.spawn(ask(Sender::Http2(sender.clone()), work.clone(), each));
                }
            }
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(())
    }

    async fn http1(&self, work: &Work) -> Result<http1::SendRequest<Full<Bytes>>> {
        let (sender, connection) = http1::handshake(self.connect(work).await?).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn http2(&self, work: &Work) -> Result<http2::SendRequest<Full<Bytes>>> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), self.connect(work).await?).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn connect(&self, work: &Work) -> Result<Box<dyn Io>> {
        let stream = TcpStream::connect(if work.tls { self.tls } else { self.plain }).await?;
        stream.set_nodelay(true)?;
        if !work.tls {
            return Ok(Box::new(TokioIo::new(stream)));
        }
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let protocol: &[u8] = if work.protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Box::new(TokioIo::new(connector.connect(ServerName::try_from(NAME)?, stream).await?)))
    }
}

trait Io: Read + Write + Unpin + Send {}

impl<T: Read + Write + Unpin + Send> Io for T {}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        Ok(match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }
}

/// One request after another.
async fn ask(mut sender: Sender, work: Work, requests: usize) -> Result<()> {
    for _ in 0..requests {
        let response = sender.send(work.request()).await.context("no answer")?;
        ensure!(response.status().is_success(), "the proxy answered {}", response.status());
        response.into_body().collect().await?;
    }
    Ok(())
}
