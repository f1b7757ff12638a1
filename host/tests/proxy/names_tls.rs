//! TLS to endpoints by name: what the endpoint has to prove to be.

use std::{fs, net::IpAddr, sync::Arc};

use http::Response;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::ResolvesServerCertUsingSni,
    sign::CertifiedKey,
};
use tempfile::TempDir;

use crate::support::{
    Client, NameServer, Origin, Protocol, Proxy, ROUTE, full, soon,
    tls::{Authority, Issued, server_config},
};

const NAME: &str = "orders.example";
const ADDRESS: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];

/// A name server, an origin behind `orders.example`, and a proxy that reaches it by `endpoint`.
struct World {
    proxy: Proxy,
    origin: Origin,
    _server: NameServer,
    _folder: TempDir,
}

impl World {
    async fn start(authority: &Authority, config: ServerConfig, protocol: Protocol, upstream: &Named) -> Self {
        let origin = Origin::https(protocol, config, |request| async move {
            let host = request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
            let host = host.or_else(|| request.uri().authority().map(ToString::to_string));
            Response::new(full(host.unwrap_or_default()))
        })
        .await;
        let server = NameServer::start();
        server.host(NAME, 60, &ADDRESS);
        server.service("_https._tcp.orders.example", 60, &[(1, 1, origin.address.port(), "node-7.example")]);
        server.host("node-7.example", 60, &ADDRESS);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let proxy = Proxy::start(&format!(
            "{}{ROUTE}[upstreams.origin]\nendpoints = [\"{}\"]\nprotocol = \"{}\"\ntls = {{ ca = \"{}/ca.pem\"{} }}\n",
            server.config(),
            upstream.endpoint.replace("PORT", &origin.address.port().to_string()),
            if protocol == Protocol::Http2 { "http2" } else { "http1" },
            folder.path().display(),
            upstream.keys,
        ));
        Self { proxy, origin, _server: server, _folder: folder }
    }

    /// Status, error and text of the answer to a request.
    async fn outcome(&self) -> (u16, String, String) {
        let answer = Client::to(&self.proxy, Protocol::Http1).await.get("/").await;
        let (status, error) = answer.outcome();
        (status, error.to_owned(), answer.text().to_owned())
    }

    async fn last_failure(&self) -> String {
        let admin = Client::connect(Protocol::Http1, self.proxy.app().admin()).await;
        admin.get("/upstreams").await.text().to_owned()
    }
}

struct Named {
    endpoint: &'static str,
    keys: &'static str,
}

const BY_NAME: Named = Named { endpoint: "orders.example:PORT", keys: "" };

fn alpn(protocol: Protocol) -> &'static [&'static str] {
    if protocol == Protocol::Http2 { &["h2"] } else { &["http/1.1"] }
}

/// An origin that has a certificate for who asks for `name` by SNI, and for nobody else.
fn by_sni(authority: &Authority, name: &str) -> ServerConfig {
    let provider = aws_lc_rs::default_provider();
    let Issued { certificate, key, .. } = authority.issue(&[name]);
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let certified = CertifiedKey::from_der(chain, key, &provider).unwrap();
    let mut resolver = ResolvesServerCertUsingSni::new();
    resolver.add(name, certified).unwrap();
    ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver))
}

#[tokio::test]
async fn an_endpoint_by_name_proves_its_name_and_is_asked_for_by_it() {
    let authority = Authority::new();
    let config = by_sni(&authority, NAME);
    let world = World::start(&authority, config, Protocol::Http1, &BY_NAME).await;
    let client = Client::to(&world.proxy, Protocol::Http1).await;
    let answer = client.get("/").await;
    assert_eq!(answer.outcome(), (200, ""), "{}", world.last_failure().await);
    assert_ne!(answer.text().split(':').next(), Some(NAME), "the Host of a request is the client's");
}

#[tokio::test]
async fn it_does_so_with_http2_and_with_the_dot_of_the_root() {
    let authority = Authority::new();
    for (protocol, endpoint) in [(Protocol::Http2, BY_NAME.endpoint), (Protocol::Http1, "Orders.Example.:PORT")] {
        let config = server_config(&authority.issue(&[NAME]), None, alpn(protocol));
        let world = World::start(&authority, config, protocol, &Named { endpoint, keys: "" }).await;
        assert_eq!(world.outcome().await.0, 200, "{}", world.last_failure().await);
    }
}

#[tokio::test]
async fn case_49_wrong_name_a_certificate_for_the_address_is_not_one_for_the_name() {
    let authority = Authority::new();
    for names in [&["127.0.0.1"][..], &["other.example"]] {
        let config = server_config(&authority.issue(names), None, alpn(Protocol::Http1));
        let world = World::start(&authority, config, Protocol::Http1, &BY_NAME).await;
        let (status, error, _) = world.outcome().await;
        assert_eq!((status, &*error), (503, "connect-failure"));
        let is_told = |told: &str| told.contains("not valid for name") && told.contains(NAME);
        soon("the failure is told", async { while !is_told(&world.last_failure().await) {} }).await;
        assert_eq!(world.origin.requests(), 0);
    }
}

#[tokio::test]
async fn a_configured_server_name_comes_before_the_endpoints() {
    let authority = Authority::new();
    let upstream = Named { keys: ", server_name = \"internal.test\"", ..BY_NAME };
    let world = World::start(&authority, by_sni(&authority, "internal.test"), Protocol::Http1, &upstream).await;
    assert_eq!(world.outcome().await.0, 200, "{}", world.last_failure().await);
}

#[tokio::test]
async fn a_service_proves_to_be_of_its_domain_whatever_its_hosts_are_called() {
    let authority = Authority::new();
    let upstream = Named { endpoint: "srv:_https._tcp.orders.example", keys: "" };
    let world = World::start(&authority, by_sni(&authority, NAME), Protocol::Http1, &upstream).await;
    assert_eq!(world.outcome().await.0, 200, "{}", world.last_failure().await);

    let config = server_config(&authority.issue(&["node-7.example"]), None, alpn(Protocol::Http1));
    let world = World::start(&authority, config, Protocol::Http1, &upstream).await;
    assert_eq!(world.outcome().await.0, 503, "who answers for DNS does not say whom to trust");
}
