//! The proxy where the cases are held to it: before an origin of each protocol, in clear text and over TLS.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::peer::{Peer, Stream};
use crate::support::{
    Body, Origin, Protocol, Proxy, ROUTE, full, soon,
    tls::{Authority, client_config, handshake},
    upstream,
};

const NAME: &str = "proxy.test";

/// A proxy and how to reach it.
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) proxy: Proxy,
    _origin: Origin,
    tls: Option<(Arc<ClientConfig>, TempDir)>,
}

impl Place {
    /// Every place.
    pub(super) async fn all() -> [Self; 3] {
        [
            Self::clear("before HTTP/1.1", Protocol::Http1).await,
            Self::clear("before HTTP/2", Protocol::Http2).await,
            Self::over_tls("over TLS").await,
        ]
    }

    async fn clear(name: &'static str, protocol: Protocol) -> Self {
        let origin = origin(protocol).await;
        Self { name, proxy: Proxy::before(&origin, protocol), _origin: origin, tls: None }
    }

    async fn over_tls(name: &'static str) -> Self {
        let (origin, folder, authority) = (origin(Protocol::Http1).await, TempDir::new().unwrap(), Authority::new());
        authority.issue(&[NAME]).write(folder.path(), "server");
        let path = |end: &str| folder.path().join(end).display().to_string();
        let proxy = Proxy::start(&format!(
            "workers = 1\n[[listeners]]\nname = \"https\"\nlisten = \"127.0.0.1:0\"\n\
             [listeners.tls]\ncertificate = {:?}\nprivate_key = {:?}\n{ROUTE}{}",
            path("server.pem"),
            path("server.key"),
            upstream("origin", Protocol::Http1, &[origin.address]),
        ));
        let mut config = client_config(&authority, None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { name, proxy, _origin: origin, tls: Some((Arc::new(config), folder)) }
    }

    /// A connection on which nothing was said yet.
    pub(super) async fn dial(&self) -> Peer {
        let address = self.proxy.address();
        let stream: Box<dyn Stream> = match &self.tls {
            Some((config, _)) => Box::new(handshake(config, NAME, address).await.unwrap()),
            None => {
                let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            }
        };
        Peer::over(stream)
    }

    /// A connection after both sides' settings.
    pub(super) async fn connect(&self) -> Peer {
        let mut peer = self.dial().await;
        peer.shake_hands().await;
        peer
    }
}

/// It answers when it has the whole request.
async fn origin(protocol: Protocol) -> Origin {
    Origin::http(protocol, |request: Request<Incoming>| async {
        let _ = request.into_body().collect().await;
        Response::<Body>::new(full("a body of more than five bytes"))
    })
    .await
}
