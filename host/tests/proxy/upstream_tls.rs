//! TLS to upstreams: whom the proxy believes, what it shows, and what it says when it cannot connect.

use std::{
    fs,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Response;
use rcgen::date_time_ymd;
use rustls::HandshakeKind;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    Client, Origin, Process, Protocol, Proxy, ROUTE, eventually, full, soon,
    tls::{Authority, Issued, server_config},
    upstream,
};

fn alpn(protocol: Protocol) -> &'static [&'static str] {
    if protocol == Protocol::Http2 { &["h2"] } else { &["http/1.1"] }
}

async fn origin(protocol: Protocol, identity: &Issued, clients: Option<&Authority>) -> Origin {
    Origin::https(protocol, server_config(identity, clients, alpn(protocol)), |request| async move {
        let scheme = request.uri().scheme_str().unwrap_or("none").to_owned();
        let mut response = Response::new(full("ok"));
        response.headers_mut().insert("x-scheme", scheme.parse().unwrap());
        response
    })
    .await
}

/// A folder with `ca.pem`.
fn folder(authority: &Authority) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    folder
}

/// A proxy whose upstream has these `tls` keys besides `ca`.
fn proxy(origin: &Origin, protocol: Protocol, folder: &TempDir, keys: &str) -> Proxy {
    let tls = format!("tls = {{ ca = \"{0}/ca.pem\" {keys} }}\n", folder.path().display());
    Proxy::start(&format!("{ROUTE}{}{tls}", upstream("origin", protocol, &[origin.address])))
}

const NAME: &str = ", server_name = \"orders.test\"";

/// What `GET /upstreams` says of why the last connection failed.
async fn last_failure(proxy: &Proxy) -> String {
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    let told = async {
        loop {
            let answer = admin.get("/upstreams").await;
            let document: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
            if let Some(text) = document["upstreams"]["origin"]["endpoints"][0]["last_failure"].as_str() {
                return text.to_owned();
            }
        }
    };
    soon("the failure", told).await
}

#[tokio::test]
async fn both_protocols_are_spoken_to_upstreams_over_tls() {
    let authority = Authority::new();
    let folder = folder(&authority);
    for protocol in Protocol::BOTH {
        let origin = origin(protocol, &authority.issue(&["orders.test"]), None).await;
        let proxy = proxy(&origin, protocol, &folder, NAME);
        let client = Client::to(&proxy, Protocol::Http1).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text(), "ok");
        }
        let scheme = if protocol == Protocol::Http2 { "https" } else { "none" };
        assert_eq!(client.get("/").await.header("x-scheme"), scheme);
        assert_eq!(origin.connections(), 1);
    }
}

#[tokio::test]
async fn without_a_server_name_the_certificate_has_to_be_for_the_address() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let by_address = origin(Protocol::Http1, &authority.issue(&["127.0.0.1"]), None).await;
    let proxy_of = |origin| proxy(origin, Protocol::Http1, &folder, "");
    let answer = Client::to(&proxy_of(&by_address), Protocol::Http1).await.get("/").await;
    assert_eq!(answer.text(), "ok");
    let by_name = origin(Protocol::Http1, &authority.issue(&["orders.test"]), None).await;
    let answer = Client::to(&proxy_of(&by_name), Protocol::Http1).await.get("/").await;
    assert_eq!(answer.outcome(), (503, "connect-failure"));
}

/// The proxy sends nothing to an origin with this certificate, and says why.
async fn refused(authority: &Authority, identity: &Issued, why: &str) {
    let origin = origin(Protocol::Http1, identity, None).await;
    let proxy = proxy(&origin, Protocol::Http1, &folder(authority), NAME);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!(answer.outcome(), (503, "connect-failure"));
    let told = last_failure(&proxy).await;
    assert!(told.contains(why), "{told}");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn case_49_expired() {
    let authority = Authority::new();
    let identity = authority.issue_with(&["orders.test"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    refused(&authority, &identity, "certificate expired").await;
}

#[tokio::test]
async fn case_49_not_yet_valid() {
    let authority = Authority::new();
    let identity = authority.issue_with(&["orders.test"], |params| params.not_before = date_time_ymd(4000, 1, 1));
    refused(&authority, &identity, "certificate not valid yet").await;
}

#[tokio::test]
async fn case_49_wrong_name() {
    let authority = Authority::new();
    refused(&authority, &authority.issue(&["other.test"]), "not valid for name \"orders.test\"").await;
}

#[tokio::test]
async fn case_49_untrusted() {
    refused(&Authority::new(), &Authority::new().issue(&["orders.test"]), "not from an authority that is trusted")
        .await;
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_tls_is_a_connect_failure() {
    let clear = Origin::raw(|mut wire, _| async move {
        let _ = wire.some().await;
        let _ = wire.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let proxy = proxy(&clear, Protocol::Http1, &folder(&Authority::new()), NAME);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!(answer.outcome(), (503, "connect-failure"));
    assert!(last_failure(&proxy).await.starts_with("TLS: "));
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_with_the_connect_timeout() {
    let silent = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    let proxy = proxy(&silent, Protocol::Http1, &folder(&Authority::new()), NAME);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!(answer.outcome(), (503, "connect-failure"));
}

#[tokio::test]
async fn an_endpoint_that_does_not_agree_to_http2_is_a_connect_failure() {
    let authority = Authority::new();
    let identity = authority.issue(&["orders.test"]);
    let origin =
        Origin::https(Protocol::Http1, server_config(&identity, None, &[]), |_| async { Response::new(full("no")) })
            .await;
    let proxy = proxy(&origin, Protocol::Http2, &folder(&authority), NAME);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!(answer.outcome(), (503, "connect-failure"));
    assert!(last_failure(&proxy).await.contains("did not agree to HTTP/2"));
}

#[tokio::test]
async fn the_proxy_shows_its_certificate_to_upstreams_that_ask() {
    let (authority, proxies) = (Authority::new(), Authority::new());
    let folder = folder(&authority);
    proxies.issue(&["proxy.test"]).write(folder.path(), "proxy");
    let identity = authority.issue(&["orders.test"]);
    for protocol in Protocol::BOTH {
        let origin = origin(protocol, &identity, Some(&proxies)).await;
        let shown = format!(
            "{NAME}, certificate = \"{0}/proxy.pem\", private_key = \"{0}/proxy.key\"",
            folder.path().display()
        );
        let with = proxy(&origin, protocol, &folder, &shown);
        assert_eq!(Client::to(&with, Protocol::Http1).await.get("/").await.text(), "ok");
        let without = proxy(&origin, protocol, &folder, NAME);
        assert_eq!(Client::to(&without, Protocol::Http1).await.get("/").await.status.as_u16() / 100, 5);
        assert_eq!(origin.requests(), 1);
    }
}

#[tokio::test]
async fn case_36_connections_are_not_shared_by_different_tls_settings() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let origin = origin(Protocol::Http1, &authority.issue(&["a.test", "b.test"]), None).await;
    let of = |name: &str| {
        let tls = format!("tls = {{ ca = \"{}/ca.pem\", server_name = \"{name}.test\" }}\n", folder.path().display());
        let route = format!("[[routes]]\nmatch = {{ path = \"/{name}\" }}\nupstream = \"{name}\"\n");
        (route, upstream(name, Protocol::Http1, &[origin.address]) + &tls)
    };
    let ((route_a, a), (route_b, b)) = (of("a"), of("b"));
    let wrong = of("c");
    let proxy = Proxy::start(&format!("{route_a}{route_b}{}{a}{b}{}", wrong.0, wrong.1));
    let client = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..2 {
        for path in ["/a", "/b"] {
            assert_eq!(client.get(path).await.text(), "ok");
        }
        assert_eq!(client.get("/c").await.outcome(), (503, "connect-failure"));
    }
    eventually("a connection each", || origin.open() == 2).await;
    assert_eq!(origin.requests(), 4);
}

#[tokio::test]
async fn a_changed_authority_is_asked_again() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = folder(&authority);
    let origin = origin(Protocol::Http1, &authority.issue(&["orders.test"]), None).await;
    let proxy = proxy(&origin, Protocol::Http1, &folder, NAME);
    let ask = async || Client::to(&proxy, Protocol::Http1).await.get("/").await;
    let reload = async || {
        let request = crate::support::post("/reload", full(""));
        Client::connect(Protocol::Http1, proxy.app().admin()).await.exchange(request).await.status
    };
    assert_eq!(ask().await.text(), "ok");
    fs::write(folder.path().join("ca.pem"), other.pem()).unwrap();
    assert_eq!(reload().await, 200);
    assert_eq!(ask().await.outcome(), (503, "connect-failure"));
    fs::write(folder.path().join("ca.pem"), "").unwrap();
    assert_eq!(reload().await, 422);
    fs::write(folder.path().join("ca.pem"), other.pem() + &authority.pem()).unwrap();
    assert_eq!(reload().await, 200);
    assert_eq!(ask().await.text(), "ok");
}

#[tokio::test]
async fn the_system_s_authorities_are_trusted_where_none_are_named() {
    let authority = Authority::new();
    let origin = origin(Protocol::Http1, &authority.issue(&["orders.test"]), None).await;
    let folder = folder(&authority);
    let config = folder.path().join("meshup.toml");
    let text =
        "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n";
    let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
    fs::write(&config, format!("{text}{ROUTE}{upstream}tls = {{ server_name = \"orders.test\" }}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshup"));
    command.env("SSL_CERT_FILE", folder.path().join("ca.pem")).env_remove("SSL_CERT_DIR");
    let process = Process::run_command(command, folder, &config).await;
    assert_eq!(Client::connect(Protocol::Http1, process.address()).await.get("/").await.text(), "ok");
}

#[tokio::test]
async fn sessions_with_upstreams_resume() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let config = server_config(&authority.issue(&["orders.test"]), None, &["http/1.1"]);
    let (acceptor, resumed) = (TlsAcceptor::from(Arc::new(config)), Arc::<AtomicUsize>::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let counted = resumed.clone();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            counted.fetch_add(usize::from(is_resumed), Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    let tls = format!("tls = {{ ca = \"{}/ca.pem\" {NAME} }}\n", folder.path().display());
    let proxy = Proxy::start(&format!("{ROUTE}{}{tls}", upstream("origin", Protocol::Http1, &[address])));
    for _ in 0..4 {
        assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.text(), "ok");
    }
    assert_eq!(resumed.load(Ordering::SeqCst), 3);
    serving.abort();
}
