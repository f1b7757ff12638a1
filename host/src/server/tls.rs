//! TLS towards clients: certificates by server name, client certificates, resumption, the handshake.
//!
//! Reads no file: `reload/tls.rs` does, and says what is wrong in them.
//!
//! **Invariant:** a session resumes only under the trust settings (authorities, `client_auth`, `min_version`) of the
//! listener that it began under: each such setting has ticket keys of its own.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig,
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, VerifierBuilderError,
        WebPkiClientVerifier,
    },
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};
use x509_cert::ext::pkix::name::GeneralName;

use super::session::{TlsSession, alternative_names};
use crate::{
    config::{ClientAuth, TlsVersion},
    pem::{self, Chain},
    transport::{Counted, Transport},
};

/// The protocols that are offered, in the order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a listener's TLS is made of.
#[derive(Debug)]
pub(crate) struct Material {
    /// At least one; the first is the default.
    pub certificates: Vec<Arc<CertifiedKey>>,
    pub trust: Trust,
    /// `trust.authorities`, ready for use.
    pub roots: RootCertStore,
}

/// Whom a listener lets in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Empty when clients are not asked for a certificate.
    pub authorities: Chain,
    pub auth: Option<ClientAuth>,
    pub min_version: TlsVersion,
}

/// A listener's TLS, shared by the workers, unchanged for as long as its files and settings are.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    certificates: Vec<Arc<CertifiedKey>>,
    trust: Trust,
}

/// Why a client got no TLS connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("it took longer than header_timeout")]
    Slow,
    #[error(transparent)]
    Failed(#[from] io::Error),
    #[error(transparent)]
    Session(#[from] super::session::SessionError),
}

/// No TLS can be made of this material.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    Verifier(#[from] VerifierBuilderError),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// The TLS of this material; `previous` itself when it is of the same. Sessions of `previous` resume as long as whom
    /// the listener lets in is the same.
    pub(crate) fn new(material: Material, previous: Option<&Arc<Self>>) -> Result<Arc<Self>, TlsError> {
        let Material { certificates, trust, roots } = material;
        let trusting = previous.filter(|previous| previous.trust == trust);
        if let Some(same) = trusting.filter(|previous| same_certificates(&previous.certificates, &certificates)) {
            return Ok(same.clone());
        }
        let ticketer = match trusting {
            Some(previous) => previous.config.ticketer.clone(),
            None => rustls::crypto::aws_lc_rs::Ticketer::new()?,
        };
        let config = server_config(&certificates, &trust, roots, ticketer)?;
        Ok(Arc::new(Self { config: Arc::new(config), certificates, trust }))
    }

    /// Shakes hands within `timeout`.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        timeout: Duration,
    ) -> Result<(Transport, Arc<TlsSession>, Option<Alpn>), HandshakeError> {
        let handshake =
            tokio::time::timeout(timeout, TlsAcceptor::from(self.config.clone()).accept(Counted::new(stream)));
        let stream = handshake.await.map_err(|_| HandshakeError::Slow)??;
        let connection = stream.get_ref().1;
        let (session, alpn) = (TlsSession::of(connection)?, Alpn::of(connection.alpn_protocol()));
        Ok((Transport::Tls(Box::new(TlsStream::Server(stream))), session, alpn))
    }
}

/// The protocol that client and server agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpn {
    Http1,
    Http2,
}

impl Alpn {
    fn of(name: Option<&[u8]>) -> Option<Self> {
        Some(if name? == b"h2" { Self::Http2 } else { Self::Http1 })
    }
}

fn same_certificates(left: &[Arc<CertifiedKey>], right: &[Arc<CertifiedKey>]) -> bool {
    // The keys belong to the certificates.
    left.iter().map(|one| &one.cert).eq(right.iter().map(|one| &one.cert))
}

fn server_config(
    certificates: &[Arc<CertifiedKey>],
    trust: &Trust,
    roots: RootCertStore,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let versions: &[_] = match trust.min_version {
        TlsVersion::Tls12 => rustls::DEFAULT_VERSIONS,
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(pem::provider()).with_protocol_versions(versions)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), pem::provider());
    let builder = match trust.auth {
        None => builder.with_no_client_auth(),
        Some(ClientAuth::Required) => builder.with_client_cert_verifier(verifier.build()?),
        Some(ClientAuth::Optional) => builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(certificates)));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    // Tickets only: they need no memory here, and every worker can read them.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ticketer;
    Ok(config)
}

/// Certificates by the server name that a client asks for.
#[derive(Debug)]
struct ByName {
    /// For clients that ask for no name, or for one that no certificate has.
    default: Option<Arc<CertifiedKey>>,
    /// `a.example`, or `.example` for `*.example`; several when their keys differ in kind.
    names: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    fn new(certificates: &[Arc<CertifiedKey>]) -> Self {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for certificate in certificates {
            for name in dns_names(certificate) {
                names.entry(name).or_default().push(certificate.clone());
            }
        }
        Self { default: certificates.first().cloned(), names }
    }

    /// The certificates for `name`: those of that very name before those of a wildcard for its first label.
    fn of(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let wildcard = || self.names.get(name.get(name.find('.')?..)?);
        self.names.get(name).or_else(wildcard).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.of(name)).unwrap_or_default();
        let suits = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        named.iter().find(suits).or(named.first()).or(self.default.as_ref()).cloned()
    }
}

/// The DNS names of a certificate, lower case, a wildcard without its asterisk.
fn dns_names(certificate: &CertifiedKey) -> Vec<String> {
    let names = pem::parsed(&certificate.cert).and_then(|certificate| alternative_names(&certificate));
    let dns = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => {
            let name = name.as_str().to_ascii_lowercase();
            Some(if name.starts_with("*.") { name.replacen('*', "", 1) } else { name })
        }
        _ => None,
    };
    names.unwrap_or_default().iter().filter_map(dns).collect()
}
