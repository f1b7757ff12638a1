//! What a client's TLS handshake told: version, name asked for, and who the client proved to be.
//!
//! **Invariant:** made once per connection; an identity is only ever that of a certificate that was verified.

use std::{fmt::Write as _, net::IpAddr, sync::Arc};

use rustls::{ProtocolVersion, ServerConnection, pki_types::CertificateDer};
use x509_cert::{
    Certificate,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::pem;

/// A client connection's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The server name that the client asked for, lower case.
    pub server_name: Option<Box<str>>,
    /// Whose certificate the client showed.
    pub peer: Option<Peer>,
}

/// Whom a verified certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The subject (RFC 4514), empty when there is none.
    pub subject: Box<str>,
    /// The subject alternative names, `DNS:a.example,URI:spiffe://x/y,IP:192.0.2.1,email:a@b`. No name in it has a comma:
    /// that is written `%2C`.
    pub sans: Box<str>,
    /// The SPIFFE id: the URI among the names, when there is just one and it is one.
    pub spiffe: Option<Box<str>>,
}

/// A certificate that was verified, but is of no use to say who the client is.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("the client's certificate cannot be taken apart")]
    Unreadable,
    /// Its handshake was resumed from one before.
    #[error("the client's certificate has expired since its first handshake")]
    Expired,
}

impl TlsSession {
    /// The session of a connection after its handshake.
    pub(super) fn of(connection: &ServerConnection) -> Result<Arc<Self>, SessionError> {
        Ok(Arc::new(Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name: connection.server_name().map(Into::into),
            peer: connection.peer_certificates().map(peer).transpose()?,
        }))
    }
}

fn peer(chain: &[CertificateDer<'_>]) -> Result<Peer, SessionError> {
    let certificate = pem::parsed(chain).ok_or(SessionError::Unreadable)?;
    if pem::is_expired(&certificate) {
        return Err(SessionError::Expired);
    }
    let names = alternative_names(&certificate).ok_or(SessionError::Unreadable)?;
    Ok(Peer {
        subject: certificate.tbs_certificate().subject().to_string().into(),
        spiffe: spiffe(&names),
        sans: names_text(&names).into(),
    })
}

/// The names of a certificate besides its subject; `None` when they cannot be read.
pub(super) fn alternative_names(certificate: &Certificate) -> Option<Vec<GeneralName>> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()?;
    Some(names.map(|(_, names)| names.0).unwrap_or_default())
}

/// A certificate with more than one URI is no SPIFFE identity (X.509-SVID, section 2).
fn spiffe(names: &[GeneralName]) -> Option<Box<str>> {
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let only = uris.next().filter(|_| uris.next().is_none())?;
    only.starts_with("spiffe://").then(|| escaped(only).into())
}

fn names_text(names: &[GeneralName]) -> String {
    let texts = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{}", escaped(name.as_str()))),
        GeneralName::UniformResourceIdentifier(uri) => Some(format!("URI:{}", escaped(uri.as_str()))),
        GeneralName::Rfc822Name(address) => Some(format!("email:{}", escaped(address.as_str()))),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()).map(|address| format!("IP:{address}")),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(",")
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A name that cannot be taken for two, nor end a line: commas and what is not printable are percent-encoded.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte == b',' || !byte.is_ascii_graphic() {
            let _ = write!(text, "%{byte:02X}");
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Orders, Inc.");
        params.distinguished_name.push(DnType::CommonName, "billing");
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn a_certificate_tells_who_the_peer_is() {
        let names = vec![
            SanType::DnsName("a.example".try_into().unwrap()),
            uri("spiffe://mesh.example/ns/a/sa/b"),
            SanType::IpAddress([192, 0, 2, 1].into()),
            SanType::Rfc822Name("a@b.example".try_into().unwrap()),
        ];
        let peer = peer(&[certificate(names)]).unwrap();
        assert_eq!(&*peer.subject, "CN=billing,O=Orders\\, Inc.");
        let sans = "DNS:a.example,URI:spiffe://mesh.example/ns/a/sa/b,IP:192.0.2.1,email:a@b.example";
        assert_eq!((&*peer.sans, peer.spiffe.as_deref()), (sans, Some("spiffe://mesh.example/ns/a/sa/b")));
    }

    #[test]
    fn a_name_cannot_pass_for_two() {
        let peer = peer(&[certificate(vec![uri("spiffe://a/b,DNS:admin.example\n")])]).unwrap();
        assert_eq!(&*peer.sans, "URI:spiffe://a/b%2CDNS:admin.example%0A");
    }

    #[test]
    fn a_certificate_that_expired_since_its_handshake_names_nobody() {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let expired = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        assert!(matches!(peer(&[expired]), Err(SessionError::Expired)));
    }

    #[test]
    fn two_uris_are_no_spiffe_identity() {
        let spiffe = |names| peer(&[certificate(names)]).unwrap().spiffe;
        assert_eq!(spiffe(vec![uri("spiffe://a/b"), uri("spiffe://a/c")]), None);
        assert_eq!(spiffe(vec![uri("https://a/b")]), None);
        assert_eq!(spiffe(vec![]), None);
    }
}
