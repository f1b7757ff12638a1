//! The client: one connection, in whatever the setup speaks.

use std::{fs, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshup_benches::peers::{Protocol, Setup};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Where connections go to.
pub(crate) struct Client {
    setup: Setup,
    tls: Option<TlsConnector>,
}

impl Client {
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        let tls = setup.tls.as_ref().map(|identity| connector(&identity.certificate, setup.down)).transpose()?;
        Ok(Self { setup: setup.clone(), tls })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.setup.listen).await?;
        let Some(tls) = &self.tls else { return Connection::begin(tcp, self.setup.down, false).await };
        // By its address, so without a server name, as load generators do.
        let name = ServerName::from(self.setup.listen.ip());
        let stream = tls.connect(name, tcp).await.context("TLS")?;
        let session = stream.get_ref().1;
        ensure!(session.alpn_protocol() == Some(alpn(self.setup.down)), "ALPN: {:?}", session.alpn_protocol());
        ensure!(session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3), "not TLS 1.3");
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Connection::begin(stream, self.setup.down, resumed).await
    }
}

fn connector(certificate: &std::path::Path, down: Protocol) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(certificate)?)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn(down).into()];
    Ok(Arc::new(config).into())
}

fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    }
}

/// A connection that is kept alive.
pub(crate) struct Connection {
    sender: Sender,
    /// Whether its TLS session was one of an earlier connection.
    pub(crate) resumed: bool,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn begin<S>(stream: S, protocol: Protocol, resumed: bool) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender, resumed })
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Collected<Bytes>>> {
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => sender.send_request(request).await?,
        };
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, body.collect().await?))
    }
}
