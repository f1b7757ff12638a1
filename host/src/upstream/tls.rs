//! TLS towards endpoints: whom an upstream trusts, what it shows, the handshake.
//!
//! Reads no file: `reload/tls.rs` does. There is no switch that turns the check of the endpoint's certificate off.
//!
//! **Invariant:** two upstreams share neither connections nor sessions, because no two have the same [`Connector`].

use std::{
    hash::{Hash, Hasher},
    io,
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{InvalidDnsNameError, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::EndpointKey;
use crate::{
    config::{Protocol, UpstreamTls},
    pem::{self, Chain},
    transport::{Counted, Transport},
};

/// TLS sessions that an upstream keeps for its next connections.
const SESSIONS: usize = 64;

/// What an upstream's TLS is made of.
#[derive(Debug)]
pub(crate) struct Material {
    pub settings: UpstreamTls,
    /// Offered by ALPN.
    pub protocol: Protocol,
    /// Empty where the system's authorities are trusted.
    pub authorities: Chain,
    /// Whom is trusted.
    pub roots: Arc<RootCertStore>,
    /// What is shown to the upstream.
    pub identity: Option<Arc<CertifiedKey>>,
}

/// An upstream's TLS, shared by the workers, the same for as long as its files and settings are.
#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Inner>);

struct Inner {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
    material: Material,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("settings", &self.material.settings).finish_non_exhaustive()
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Connector {}

impl Hash for Connector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// No TLS can be made of this material.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectorError {
    #[error(transparent)]
    Name(#[from] InvalidDnsNameError),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl Connector {
    /// The TLS of this material; `previous` itself when it is of the same.
    pub(crate) fn new(material: Material, previous: Option<&Self>) -> Result<Self, ConnectorError> {
        if let Some(same) = previous.filter(|previous| previous.0.material.is_same(&material)) {
            return Ok(same.clone());
        }
        let server_name = material.settings.server_name.clone().map(ServerName::try_from).transpose()?;
        let connector = Arc::new(client_config(&material)?).into();
        Ok(Self(Arc::new(Inner { connector, server_name, material })))
    }

    /// Shakes hands with an endpoint: it has to be what is configured, else what it is called, else what its address is.
    ///
    /// # Errors
    /// What the endpoint lacks, in words for whoever operates the proxy.
    pub(super) async fn connect(&self, stream: TcpStream, endpoint: &EndpointKey) -> io::Result<Transport> {
        let name = match &self.0.server_name {
            Some(name) => name.clone(),
            None => endpoint_name(endpoint).map_err(|error| io::Error::other(format!("TLS: {error}")))?,
        };
        let stream = self.0.connector.connect(name, Counted::new(stream)).await.map_err(|error| explained(&error))?;
        if self.0.material.protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("TLS: the endpoint did not agree to HTTP/2 (ALPN h2)"));
        }
        Ok(Transport::Tls(Box::new(TlsStream::Client(stream))))
    }
}

/// What an endpoint has to prove to be where no `server_name` says so.
fn endpoint_name(endpoint: &EndpointKey) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match &endpoint.name {
        Some(name) => ServerName::try_from(name.to_string()),
        None => Ok(ServerName::from(endpoint.address.ip())),
    }
}

impl Material {
    fn is_same(&self, other: &Self) -> bool {
        let shown = |material: &Self| material.identity.as_ref().map(|identity| identity.cert.clone());
        self.settings == other.settings
            && self.protocol == other.protocol
            && self.authorities == other.authorities
            && shown(self) == shown(other)
    }
}

fn client_config(material: &Material) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(pem::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(material.roots.clone());
    let mut config = match &material.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.clone()))),
    };
    config.alpn_protocols = vec![match material.protocol {
        Protocol::Http1 => b"http/1.1".to_vec(),
        Protocol::Http2 => b"h2".to_vec(),
    }];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

/// What went wrong in a handshake, for the log and for `GET /upstreams`.
fn explained(error: &io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
    let text = match tls {
        // A bad signature is that of another authority of the same name.
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "the endpoint's certificate is not from an authority that is trusted".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(why)) => format!("the endpoint's certificate is refused: {why}"),
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the endpoint closed the connection in the handshake".into()
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("TLS: {text}"))
}
