//! Clients that speak HTTP well.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header::HOST};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Body, Proxy, empty, origin::small_buffer, soon};

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) const BOTH: [Self; 2] = [Self::Http1, Self::Http2];

    /// As in the configuration of an upstream.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

/// A request for `path` of `test.example`.
pub(crate) fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, empty())
}

/// A request with a body.
pub(crate) fn post(path: &str, body: Body) -> Request<Body> {
    request(Method::POST, path, body)
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header(HOST, "test.example").body(body).unwrap()
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    /// Reads the whole response.
    ///
    /// # Errors
    /// When its body ends early.
    pub(crate) async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let body = soon("a response body", body.collect()).await?;
        let trailers = body.trailers().cloned();
        Ok(Self { status: head.status, headers: head.headers, body: body.to_bytes(), trailers })
    }

    /// A header's value; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The status and the host's error, if it made the response.
    pub(crate) fn outcome(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("x-meshup-error"))
    }
}

/// One client connection.
#[derive(Debug, Clone)]
pub(crate) struct Client(Sender);

#[derive(Debug)]
enum Sender {
    Http1(std::sync::Arc<tokio::sync::Mutex<conn::http1::SendRequest<Body>>>),
    Http2(conn::http2::SendRequest<Body>),
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        match self {
            Self::Http1(sender) => Self::Http1(sender.clone()),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }
}

impl Client {
    pub(crate) async fn connect(protocol: Protocol, address: SocketAddr) -> Self {
        Self::try_connect(protocol, address).await.expect("a connection")
    }

    /// None when the connection is refused or closed at once.
    pub(crate) async fn try_connect(protocol: Protocol, address: SocketAddr) -> Option<Self> {
        let stream = soon("a connection", TcpStream::connect(address)).await.ok()?;
        stream.set_nodelay(true).unwrap();
        small_buffer(&stream);
        Self::over(protocol, stream).await
    }

    /// A client over a stream; none when the connection is closed at once.
    pub(crate) async fn over(
        protocol: Protocol,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Option<Self> {
        let io = TokioIo::new(stream);
        Some(Self(match protocol {
            Protocol::Http1 => {
                let (sender, connection) = conn::http1::handshake(io).await.ok()?;
                tokio::spawn(connection);
                Sender::Http1(std::sync::Arc::new(tokio::sync::Mutex::new(sender)))
            }
            Protocol::Http2 => {
                let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        }))
    }

    /// A connection to the proxy.
    pub(crate) async fn to(proxy: &Proxy, protocol: Protocol) -> Self {
        Self::connect(protocol, proxy.address()).await
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn try_send(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &self.0 {
            Sender::Http1(sender) => {
                let mut sender = sender.lock().await;
                soon("the connection's turn", sender.ready()).await?;
                soon("a response", sender.send_request(request)).await
            }
            Sender::Http2(sender) => soon("a response", sender.clone().send_request(absolute(request))).await,
        }
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn exchange(&self, request: Request<Body>) -> Answer {
        Answer::read(self.send(request).await).await.unwrap()
    }

    /// The same for a plain GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.exchange(get(path)).await
    }
}

/// HTTP/2 has the authority in the target.
fn absolute(mut request: Request<Body>) -> Request<Body> {
    if let Some(host) = request.headers_mut().remove(HOST) {
        let target = format!("http://{}{}", host.to_str().unwrap(), request.uri());
        *request.uri_mut() = Uri::try_from(target).unwrap();
    }
    *request.version_mut() = Version::HTTP_2;
    request
}
