//! Makes connections to the proxy.
//!
//! **Invariant:** TLS trusts the one certificate that the proxy was given.

use std::{cell::Cell, fmt, net::SocketAddr, rc::Rc, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Load, client::Client, http1};
use crate::{peers::Protocol, work::NAME};

/// How clients come by TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// What the proxy shows.
    pub certificate: CertificateDer<'static>,
    /// Whether they take up earlier sessions.
    pub handshakes: Handshakes,
}

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshakes {
    /// Certificate and signature, every time.
    Full,
    /// What an earlier connection left, where the proxy allows it.
    Resumed,
}

#[derive(Clone)]
pub(super) struct Connector {
    address: SocketAddr,
    protocol: Protocol,
    reconnect: bool,
    tls: Option<TlsConnector>,
    handshakes: Handshakes,
    resumed: Rc<Cell<u64>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connector").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(address: SocketAddr, load: &Load) -> Result<Self> {
        let tls = load.tls.as_ref().map(|tls| client_config(tls, load.protocol)).transpose()?;
        Ok(Self {
            address,
            protocol: load.protocol,
            reconnect: load.reconnect,
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
            handshakes: load.tls.as_ref().map_or(Handshakes::Full, |tls| tls.handshakes),
            resumed: Rc::default(),
        })
    }

    /// TLS sessions resumed so far.
    pub(super) fn resumed(&self) -> u64 {
        self.resumed.get()
    }

    pub(super) async fn client(&self) -> Result<Client> {
        Ok(match self.protocol {
            _ if self.reconnect => Client::Reconnecting(self.with_sessions_of_its_own()),
            Protocol::Http1 => Client::Http1(self.http1().await?),
            Protocol::Http2 => Client::Http2(self.http2().await?),
        })
    }

    /// Sessions are good for one connection each: clients that share them would run out of them.
    fn with_sessions_of_its_own(&self) -> Self {
        let tls = self.tls.as_ref().map(|tls| {
            let mut config = ClientConfig::clone(tls.config());
            if self.handshakes == Handshakes::Resumed {
                config.resumption = Resumption::in_memory_sessions(8);
            }
            TlsConnector::from(Arc::new(config))
        });
        Self { tls, ..self.clone() }
    }

    pub(super) async fn http1(&self) -> Result<http1::Connection> {
        let stream = self.tcp().await?;
        Ok(match &self.tls {
            None => http1::Connection::new(stream),
            Some(tls) => http1::Connection::new(self.encrypt(tls, stream).await?),
        })
    }

    async fn http2(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = self.tcp().await?;
        match &self.tls {
            None => http2_over(stream).await,
            Some(tls) => http2_over(self.encrypt(tls, stream).await?).await,
        }
    }

    async fn tcp(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn encrypt(&self, tls: &TlsConnector, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let stream = tls.connect(ServerName::try_from(NAME)?, stream).await?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        self.resumed.set(self.resumed.get() + u64::from(resumed));
        Ok(stream)
    }
}

async fn http2_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn client_config(tls: &Tls, protocol: Protocol) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(tls.certificate.clone())?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    if tls.handshakes == Handshakes::Full {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}
