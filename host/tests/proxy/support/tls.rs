//! Certificates made for one test, and clients and origins that speak TLS with them.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::{Answer, Body, Client, Origin, Protocol, get, soon};

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    chain: Vec<CertificateDer<'static>>,
    der_key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for DNS names, IP addresses and URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (uris, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let mut params = CertificateParams::new(others.into_iter().map(str::to_owned).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap())));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            chain: vec![certificate.der().clone()],
            der_key: key.serialize_der(),
        }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key`, by a rename each.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        replace(&folder.join(format!("{name}.pem")), &self.certificate);
        replace(&folder.join(format!("{name}.key")), &self.key);
    }

    fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), PrivateKeyDer::try_from(self.der_key.clone()).unwrap())
    }
}

pub(crate) fn replace(path: &Path, content: &str) {
    let next = path.with_extension("next");
    fs::write(&next, content).unwrap();
    fs::rename(next, path).unwrap();
}

/// The settings of a client that trusts `authority` and shows `identity`.
pub(crate) fn client_config(authority: &Authority, identity: Option<&Issued>) -> ClientConfig {
    client_config_of(rustls::DEFAULT_VERSIONS, authority, identity)
}

/// The same for a client of some versions only.
pub(crate) fn client_config_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
    authority: &Authority,
    identity: Option<&Issued>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(authority.roots());
    match identity.map(Issued::der) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// The end of a handshake with `name` at `address`, as the client sees it.
pub(crate) async fn handshake(
    config: &Arc<ClientConfig>,
    name: &str,
    address: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = soon("a connection", TcpStream::connect(address)).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon("a handshake", TlsConnector::from(config.clone()).connect(name, stream)).await
}

/// A client that agrees on `protocol` by ALPN.
pub(crate) async fn connect(
    config: ClientConfig,
    protocol: Protocol,
    name: &str,
    address: SocketAddr,
) -> io::Result<Client> {
    let mut config = config;
    let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = handshake(&Arc::new(config), name, address).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
    Client::over(protocol, stream).await.ok_or_else(|| io::ErrorKind::ConnectionReset.into())
}

/// A GET on a connection of its own; whatever fails, in words. With TLS 1.3 a client learns only after its handshake
/// that its certificate is not liked.
pub(crate) async fn ask(config: ClientConfig, name: &str, address: SocketAddr) -> Result<Answer, String> {
    let client = connect(config, Protocol::Http1, name, address).await.map_err(|error| error.to_string())?;
    let response = client.try_send(get("/")).await.map_err(|error| format!("{error:?}"))?;
    Answer::read(response).await.map_err(|error| error.to_string())
}

/// The settings of an origin that shows `identity` and, where there is one, asks for certificates of `clients`.
pub(crate) fn server_config(identity: &Issued, clients: Option<&Authority>, alpn: &[&str]) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(clients.roots(), provider).build().unwrap(),
        ),
    };
    let (chain, key) = identity.der();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

impl Origin {
    /// An origin that speaks `protocol` over TLS.
    pub(crate) async fn https<F>(
        protocol: Protocol,
        config: ServerConfig,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::accept(move |stream, _, requests| {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    super::origin::serve(stream, protocol, requests, answer).await;
                }
            })
            .abort_handle()
        })
        .await
    }
}
