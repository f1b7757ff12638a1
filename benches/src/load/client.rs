//! One client: a connection of HTTP/1.1, a stream of HTTP/2, or a connection for each request.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;

use super::{Load, connector::Connector, http1};
use crate::{peers::Protocol, work::Work};

/// A request that is ready to be sent again and again.
#[derive(Debug)]
pub(super) struct Prepared {
    work: Work,
    bytes: Vec<u8>,
    request: Request<Full<Bytes>>,
}

impl Prepared {
    pub(super) fn new(load: &Load) -> Self {
        let scheme = if load.tls.is_some() { "https" } else { "http" };
        let request = load.work.request(Protocol::Http2, scheme);
        Self { work: load.work, bytes: load.work.bytes(load.more_headers), request }
    }
}

#[derive(Debug)]
pub(super) enum Client {
    Http1(http1::Connection),
    Http2(SendRequest<Full<Bytes>>),
    Reconnecting(Connector),
}

impl Client {
    /// Another client of the same connection; there is none with HTTP/1.1.
    pub(super) fn another_stream(&self) -> Option<Self> {
        match self {
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
            Self::Http1(_) | Self::Reconnecting(_) => None,
        }
    }

    /// Sends the request and reads the whole response.
    pub(super) async fn send(&mut self, request: &Prepared) -> Result<()> {
        match self {
            Self::Http1(connection) => connection.exchange(&request.bytes, request.work.response_bytes()).await,
            Self::Http2(sender) => exchange(sender, request).await,
            Self::Reconnecting(connector) => {
                let mut connection = connector.http1().await?;
                connection.exchange(&request.bytes, request.work.response_bytes()).await?;
                connection.close().await
            }
        }
    }
}

async fn exchange(sender: &mut SendRequest<Full<Bytes>>, request: &Prepared) -> Result<()> {
    sender.ready().await?;
    let response = sender.send_request(request.request.clone()).await.context("no response")?;
    ensure!(response.status() == StatusCode::OK, "the proxy answered {}", response.status());
    let body = response.into_body().collect().await?;
    if request.work == Work::Grpc {
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        ensure!(status.is_some_and(|status| status == "0"), "the call ended with {status:?}");
    }
    let bytes = body.to_bytes().len();
    ensure!(bytes == request.work.response_bytes(), "a response of {bytes} bytes");
    Ok(())
}
