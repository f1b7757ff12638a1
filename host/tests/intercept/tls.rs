//! Interception with TLS on both sides: the application's ends at the transparent listener, and the original destination
//! is asked for a certificate.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{
    PROXY_UID, REQUEST, answer_to, connect, done,
    namespace::{Network, network},
    origin::Origin,
    proxy::Proxy,
    went_through,
};

/// The origin's address, as the certificates have it.
const ADDRESS: &str = "10.77.0.2";
const NAME: &str = "orders.internal";

fn config(upstream_tls: &str) -> String {
    format!(
        r#"
admin.listen = "127.0.0.1:9901"
workers = 1

[[listeners]]
name = "outbound"
listen = "127.0.0.1:15001"
transparent = true
tls = {{ certificate = "shown.pem", private_key = "shown.key" }}

[filters.mark]
module = "builtin:rewrite"
config = {{ request_headers = {{ set = {{ x-through = "meshup" }} }} }}

[[routes]]
filters = ["mark"]
upstream = "passthrough"

[upstreams.passthrough]
endpoints = "original_destination"
tls = {upstream_tls}
"#
    )
}

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for a DNS name or an IP address, and its key.
    fn issue(&self, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }
}

fn origin(network: &Network, port: u16, [certificate, key]: [String; 2]) -> Origin {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Origin::over_tls(&network.origin, &format!("{ADDRESS}:{port}"), builder.with_single_cert(chain, key).unwrap())
}

/// The request of an application that trusts one authority and asks for a certificate of the server's address.
fn ask(network: &Network, authority: &Authority, server: SocketAddr) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let session = ClientConnection::new(config, ServerName::from(server.ip())).unwrap();
    network.application.inside(|| answer_to(REQUEST, StreamOwned::new(session, connect(server))))
}

/// What the origins answer whose certificates are for their address and for a name.
fn answers(upstream_tls: &str) -> Option<[String; 2]> {
    let network = network("nft")?;
    // The application would not trust the origins, nor the proxy what it shows itself.
    let (proxys, origins) = (Authority::new(), Authority::new());
    let [shown, key] = proxys.issue(ADDRESS);
    let files = [("shown.pem", shown), ("shown.key", key), ("ca.pem", origins.0.pem())];
    let _proxy = Proxy::start_beside(&network, &config(upstream_tls), &files);
    done(&network, &["install", "--tool", "nft", "--proxy-uid", PROXY_UID]);
    let all = [origin(&network, 8443, origins.issue(ADDRESS)), origin(&network, 8444, origins.issue(NAME))];
    Some(all.map(|origin| ask(&network, &proxys, origin.address())))
}

fn is_not_trusted(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 503") && answer.contains("x-meshup-error: connect-failure")
}

#[test]
fn an_original_destination_is_asked_for_a_certificate_of_its_address() {
    let Some([by_address, by_name]) = answers(r#"{ ca = "ca.pem" }"#) else { return };
    assert!(went_through(&by_address), "{by_address}");
    assert!(is_not_trusted(&by_name), "{by_name}");
}

#[test]
fn an_original_destination_is_asked_for_a_certificate_of_the_configured_name() {
    let tls = format!(r#"{{ ca = "ca.pem", server_name = "{NAME}" }}"#);
    let Some([by_address, by_name]) = answers(&tls) else { return };
    assert!(is_not_trusted(&by_address), "{by_address}");
    assert!(went_through(&by_name), "{by_name}");
}
