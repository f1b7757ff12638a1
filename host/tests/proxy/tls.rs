//! TLS from clients: certificates by name, client certificates, resumption, rotation, and what goes wrong.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::Response;
use meshup::{App, Options, Source, StartError, wasm::Compiler};
use rcgen::date_time_ymd;
use rustls::{ClientConfig, HandshakeKind};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    Answer, Client, Origin, Process, Protocol, Proxy, ROUTE, Wire, eventually, filter, full, post, soon,
    tls::{Authority, ask, client_config, client_config_of, connect, handshake, replace},
    upstream,
};

const PAIR: &str = "certificate = \"server.pem\", private_key = \"server.key\"";

/// A configuration file beside the certificates that it names.
struct Files {
    folder: TempDir,
    authority: Authority,
    origin: Origin,
}

impl Files {
    /// With `server.pem` for `proxy.test` and its key.
    async fn new() -> Self {
        let origin = Origin::http(Protocol::Http1, |request| async move {
            let proto = request.headers()["x-forwarded-proto"].clone();
            drop(http_body_util::BodyExt::collect(request.into_body()).await);
            let mut response = Response::new(full("ok"));
            response.headers_mut().insert("x-seen-proto", proto);
            response
        });
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new(), origin: origin.await };
        files.issue("server", &["proxy.test"]);
        files
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn issue(&self, name: &str, names: &[&str]) {
        self.authority.issue(names).write(self.path(), name);
    }

    /// A listener with `tls`, before what `rest` adds: filters of the route first.
    fn config(&self, tls: &str, rest: &str) -> String {
        format!(
            "workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"https\"\nlisten = \"127.0.0.1:0\"\n\
             limits = {{ header_timeout = \"300ms\" }}\ntls = {{ {tls} }}\n{ROUTE}{rest}\n{}",
            upstream("origin", Protocol::Http1, &[self.origin.address])
        )
    }

    fn write(&self, config: &str) {
        replace(&self.path().join("meshup.toml"), config);
    }

    fn try_start(&self, config: &str, watch_files: bool) -> Result<Proxy, StartError> {
        self.write(config);
        let source = Source::File(self.path().join("meshup.toml"));
        let cache_dir = Some(self.path().join("cache"));
        App::start(Options { source, cache_dir, compiler: Compiler::InProcess, watch_files }).map(Proxy::of)
    }

    /// A proxy with this `tls`.
    fn start(&self, tls: &str) -> Proxy {
        self.try_start(&self.config(tls, ""), false).unwrap_or_else(|error| panic!("{error}"))
    }

    fn client(&self) -> ClientConfig {
        client_config(&self.authority, None)
    }
}

async fn post_reload(proxy: &Proxy) -> Answer {
    Client::connect(Protocol::Http1, proxy.app().admin()).await.exchange(post("/reload", full(""))).await
}

async fn handshake_failures(proxy: &Proxy) -> u64 {
    let metrics = Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/metrics").await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("meshup_tls_handshake_failures_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// The names of the certificate that a client gets that asks for `name`.
async fn presented(files: &Files, proxy: &Proxy, name: &str) -> String {
    match handshake(&Arc::new(files.client()), name, proxy.address()).await {
        Ok(_) => name.to_owned(),
        Err(error) => error.to_string().split("only valid for ").last().unwrap().to_owned(),
    }
}

#[tokio::test]
async fn both_protocols_are_served_over_tls() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    for protocol in Protocol::BOTH {
        let client = connect(files.client(), protocol, "proxy.test", proxy.address()).await.unwrap();
        for _ in 0..3 {
            let answer = client.exchange(post("/", full(vec![b'x'; 100_000]))).await;
            assert_eq!((answer.outcome(), answer.text()), ((200, ""), "ok"));
            assert_eq!(answer.header("x-seen-proto"), "https");
        }
    }
}

#[tokio::test]
async fn a_client_without_alpn_is_served_what_it_speaks() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    for protocol in Protocol::BOTH {
        let stream = handshake(&Arc::new(files.client()), "proxy.test", proxy.address()).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        let client = Client::over(protocol, stream).await.unwrap();
        assert_eq!(client.get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_client_that_speaks_another_protocol_than_agreed_is_refused() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    let mut config = files.client();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = handshake(&Arc::new(config), "proxy.test", proxy.address()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = soon("the end", stream.read_to_string(&mut answer)).await;
    assert_eq!(answer, "");
    assert_eq!(files.origin.requests(), 0);
}

#[tokio::test]
async fn a_certificate_is_chosen_by_the_name_asked_for() {
    let files = Files::new().await;
    files.issue("a", &["a.test", "also-a.test"]);
    files.issue("wild", &["*.wild.test"]);
    let several = "certificates = [{ certificate = \"a.pem\", private_key = \"a.key\" }, \
                   { certificate = \"wild.pem\", private_key = \"wild.key\" }]";
    let proxy = files.start(&format!("{PAIR}, {several}"));
    for name in ["proxy.test", "a.test", "Also-A.test", "b.wild.test"] {
        assert_eq!(presented(&files, &proxy, name).await, name);
    }
    for unknown in ["unknown.test", "wild.test", "a.b.wild.test"] {
        assert_eq!(presented(&files, &proxy, unknown).await, "DnsName(\"proxy.test\")", "{unknown}");
    }
    let mut nameless = files.client();
    nameless.enable_sni = false;
    assert!(handshake(&Arc::new(nameless), "proxy.test", proxy.address()).await.is_ok());

    let only_several = files.start(several);
    assert_eq!(presented(&files, &only_several, "a.test").await, "a.test");
    assert_eq!(presented(&files, &only_several, "x.wild.test").await, "x.wild.test");
}

fn with_client_ca(auth: &str) -> String {
    format!("{PAIR}, client_ca = \"clients.pem\", client_auth = \"{auth}\"")
}

/// A listener for clients of an authority of their own, and a filter that shows the attributes.
async fn for_clients(auth: &str) -> (Files, Authority, Proxy) {
    let (files, clients) = (Files::new().await, Authority::new());
    fs::write(files.path().join("clients.pem"), clients.pem()).unwrap();
    let rest = format!("filters = [\"f\"]\n{}", filter("f", "\"attributes\""));
    let proxy = files.try_start(&files.config(&with_client_ca(auth), &rest), false).unwrap_or_else(|e| panic!("{e}"));
    (files, clients, proxy)
}

#[tokio::test]
async fn required_client_certificates_become_attributes() {
    let (files, clients, proxy) = for_clients("required").await;
    let peer = clients.issue_with(&["a.example", "spiffe://mesh.example/sa/a", "192.0.2.1"], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Orders");
        params.distinguished_name.push(rcgen::DnType::CommonName, "a");
    });
    for (versions, version) in [(&[&rustls::version::TLS12], "TLSv1.2"), (&[&rustls::version::TLS13], "TLSv1.3")] {
        let config = client_config_of(versions, &files.authority, Some(&peer));
        let answer = ask(config, "proxy.test", proxy.address()).await.unwrap();
        for (header, expected) in [
            ("x-tls-version", version),
            ("x-tls-server-name", "proxy.test"),
            ("x-peer-subject", "CN=a,O=Orders"),
            ("x-peer-spiffe", "spiffe://mesh.example/sa/a"),
            ("x-peer-sans", "DNS:a.example,IP:192.0.2.1,URI:spiffe://mesh.example/sa/a"),
        ] {
            assert_eq!(answer.header(header), expected, "{header}");
        }
    }
    let refused = ask(files.client(), "proxy.test", proxy.address()).await;
    assert!(refused.as_ref().is_err_and(|why| why.contains("CertificateRequired")), "{refused:?}");
    assert!(handshake_failures(&proxy).await >= 1);
}

#[tokio::test]
async fn case_49_client_certificates_that_are_not_valid_are_refused() {
    for auth in ["required", "optional"] {
        let (files, clients, proxy) = for_clients(auth).await;
        let expired = clients.issue_with(&["a.example"], |params| params.not_after = date_time_ymd(2020, 1, 1));
        let early = clients.issue_with(&["a.example"], |params| params.not_before = date_time_ymd(4000, 1, 1));
        let untrusted = Authority::new().issue(&["a.example"]);
        for bad in [expired, early, untrusted] {
            let refused = ask(client_config(&files.authority, Some(&bad)), "proxy.test", proxy.address()).await;
            assert!(refused.is_err(), "{auth}: {refused:?}");
        }
        assert_eq!(files.origin.requests(), 0);
    }
}

#[tokio::test]
async fn without_an_optional_client_certificate_there_is_no_peer() {
    let (files, clients, proxy) = for_clients("optional").await;
    let answer = ask(files.client(), "proxy.test", proxy.address()).await.unwrap();
    assert_eq!((answer.header("x-peer-subject"), answer.header("x-peer-sans")), ("", ""));
    assert_eq!(answer.header("x-tls-version"), "TLSv1.3");
    let known = clients.issue(&["b.example"]);
    let answer = ask(client_config(&files.authority, Some(&known)), "proxy.test", proxy.address()).await.unwrap();
    assert_eq!(answer.header("x-peer-sans"), "DNS:b.example");
}

#[tokio::test]
async fn an_old_version_of_tls_is_refused_where_it_is_not_wanted() {
    let files = Files::new().await;
    let old = || client_config_of(&[&rustls::version::TLS12], &files.authority, None);
    let proxy = files.start(PAIR);
    assert_eq!(ask(old(), "proxy.test", proxy.address()).await.unwrap().text(), "ok");
    let strict = files.start(&format!("{PAIR}, min_version = \"1.3\""));
    let refused = ask(old(), "proxy.test", strict.address()).await;
    assert!(refused.as_ref().is_err_and(|why| why.contains("ProtocolVersion")), "{refused:?}");
    assert_eq!(ask(files.client(), "proxy.test", strict.address()).await.unwrap().text(), "ok");
}

#[tokio::test]
async fn case_43_tls_handshake_stall() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    let before = handshake_failures(&proxy).await;
    let mut silent = Wire::connect(proxy.address()).await;
    let mut half = Wire::connect(proxy.address()).await;
    half.send(b"\x16\x03\x01\x02\x00\x01\x00").await;
    assert_eq!(ask(files.client(), "proxy.test", proxy.address()).await.unwrap().text(), "ok");
    assert_eq!((silent.rest().await.len(), half.rest().await.len()), (0, 0));
    assert_eq!(handshake_failures(&proxy).await - before, 2);
}

#[tokio::test]
async fn what_is_no_tls_is_refused_and_counted() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    let before = handshake_failures(&proxy).await;
    let mut clear = Wire::connect(proxy.address()).await;
    clear.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!clear.rest().await.starts_with(b"HTTP"));
    assert_eq!(handshake_failures(&proxy).await - before, 1);
    assert_eq!(files.origin.requests(), 0);
}

/// Handshakes and exchanges once, so that the client has its tickets, and tells whether the handshake was resumed.
async fn resumes(config: &Arc<ClientConfig>, address: SocketAddr) -> bool {
    let mut stream = handshake(config, "proxy.test", address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    soon("an answer", stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[tokio::test]
async fn sessions_resume_on_every_worker_and_over_a_rotation() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let files = Files::new().await;
        let proxy = files.start(PAIR);
        let config = Arc::new(client_config_of(&[version], &files.authority, None));
        assert!(!resumes(&config, proxy.address()).await);
        for _ in 0..10 {
            assert!(resumes(&config, proxy.address()).await);
        }
        files.issue("server", &["proxy.test"]);
        assert_eq!(post_reload(&proxy).await.status, 200);
        assert!(resumes(&config, proxy.address()).await);
    }
}

#[tokio::test]
async fn no_session_resumes_under_other_trust_settings() {
    let (files, clients, proxy) = for_clients("optional").await;
    let peer = clients.issue(&["a.example"]);
    let config = Arc::new(client_config(&files.authority, Some(&peer)));
    assert!(!resumes(&config, proxy.address()).await);
    assert!(resumes(&config, proxy.address()).await);
    files.write(&files.config(&with_client_ca("required"), ""));
    assert_eq!(post_reload(&proxy).await.status, 200);
    assert!(!resumes(&config, proxy.address()).await);
    assert!(resumes(&config, proxy.address()).await);
    fs::write(files.path().join("clients.pem"), format!("{}{}", clients.pem(), Authority::new().pem())).unwrap();
    assert_eq!(post_reload(&proxy).await.status, 200);
    assert!(!resumes(&config, proxy.address()).await);
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
}

/// Asks on connections of their own and on a kept one until told to stop; every request is answered.
async fn load(config: ClientConfig, protocol: Protocol, address: SocketAddr, load: Arc<Load>) {
    let kept = connect(config.clone(), protocol, "proxy.test", address).await.unwrap();
    while !load.stop.load(Ordering::SeqCst) {
        let new = connect(config.clone(), protocol, "proxy.test", address).await.unwrap();
        for client in [&kept, &new] {
            assert_eq!(client.get("/").await.outcome(), (200, ""));
            load.answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The serial number of the certificate that new connections get.
async fn served(files: &Files, proxy: &Proxy) -> Vec<u8> {
    let stream = handshake(&Arc::new(files.client()), "proxy.test", proxy.address()).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn case_49_rotation_on_disk_under_load_loses_no_request() {
    let files = Files::new().await;
    let proxy = files.try_start(&files.config(PAIR, ""), true).unwrap_or_else(|error| panic!("{error}"));
    let shared = Arc::<Load>::default();
    let clients =
        Protocol::BOTH.map(|protocol| tokio::spawn(load(files.client(), protocol, proxy.address(), shared.clone())));
    for _ in 0..5 {
        let (before, answered) = (served(&files, &proxy).await, shared.answered.load(Ordering::SeqCst));
        files.issue("server", &["proxy.test"]);
        soon("the new certificate", async { while served(&files, &proxy).await == before {} }).await;
        eventually("requests go on", || shared.answered.load(Ordering::SeqCst) > answered + 10).await;
    }
    shared.stop.store(true, Ordering::SeqCst);
    for client in clients {
        soon("a client", client).await.unwrap();
    }
}

#[tokio::test]
async fn case_49_a_pair_that_does_not_match_keeps_the_old_one_and_says_so() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    let before = served(&files, &proxy).await;
    let other = files.authority.issue(&["proxy.test"]);
    let key = files.path().join("server.key");
    let good = fs::read_to_string(&key).unwrap();
    for (content, said) in [
        (other.key.as_str(), "does not belong to the certificate"),
        (&good[..good.len() / 2], "is not a PEM file"),
        ("", "there is no private key in"),
        (&other.certificate, "there is no private key in"),
    ] {
        fs::write(&key, content).unwrap();
        let refused = post_reload(&proxy).await;
        assert_eq!(refused.status, 422);
        let document: serde_json::Value = serde_json::from_str(refused.text()).unwrap();
        let fault = &document["errors"][0];
        let (line, column) = (fault["line"].as_u64(), fault["column"].as_u64());
        assert!(fault["message"].as_str().unwrap().contains(said), "{fault}");
        assert_eq!((line, column, document["total"].as_u64()), (Some(8), Some(51), Some(1)), "{fault}");
        assert_eq!(served(&files, &proxy).await, before);
        assert_eq!(ask(files.client(), "proxy.test", proxy.address()).await.unwrap().text(), "ok");
    }
    fs::write(&key, &good).unwrap();
    let unchanged = post_reload(&proxy).await;
    assert!(unchanged.status == 200 && unchanged.text().contains("unchanged"), "{}", unchanged.text());
}

#[tokio::test]
async fn case_49_a_half_written_key_is_taken_up_once_it_is_whole() {
    let files = Files::new().await;
    let proxy = files.try_start(&files.config(PAIR, ""), true).unwrap_or_else(|error| panic!("{error}"));
    let before = served(&files, &proxy).await;
    let next = files.authority.issue(&["proxy.test"]);
    fs::write(files.path().join("server.pem"), &next.certificate).unwrap();
    fs::write(files.path().join("server.key"), &next.key[..next.key.len() / 2]).unwrap();
    let refused = async {
        let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
        while !admin.get("/filters").await.text().contains("server.key") {}
    };
    soon("the refusal", refused).await;
    assert_eq!(served(&files, &proxy).await, before);
    fs::write(files.path().join("server.key"), &next.key).unwrap();
    soon("the new certificate", async { while served(&files, &proxy).await == before {} }).await;
}

#[tokio::test]
async fn every_file_that_cannot_be_used_is_told_at_once() {
    let files = Files::new().await;
    fs::write(files.path().join("empty.pem"), "").unwrap();
    fs::write(files.path().join("text.pem"), "-----BEGIN CERTIFICATE-----\nrubbish").unwrap();
    fs::write(files.path().join("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let pairs = "certificates = [{ certificate = \"missing.pem\", private_key = \"missing.key\" }, \
                 { certificate = \"text.pem\", private_key = \"empty.pem\" }, \
                 { certificate = \"bad.pem\", private_key = \"server.key\" }]";
    let tls = format!("{PAIR}, {pairs}, client_ca = \"empty.pem\"");
    let rest = "tls = { ca = \"bad.pem\", certificate = \"server.pem\", private_key = \"server.pem\" }\n";
    let Err(StartError::Config(faults)) = files.try_start(&(files.config(&tls, "") + rest), false) else {
        panic!("it starts")
    };
    let said: Vec<_> = faults.shown().iter().map(|fault| fault.message.as_str()).collect();
    let expected = [
        ("listener \"https\": cannot read", "missing.pem"),
        ("listener \"https\": cannot read", "missing.key"),
        ("text.pem is not a PEM file", ""),
        ("there is no private key in", "empty.pem"),
        ("the certificate in", "bad.pem cannot be used"),
        ("there is no certificate in", "empty.pem"),
        ("upstream \"origin\": certificate 1 in", "bad.pem cannot be used"),
        ("there is no private key in", "server.pem"),
    ];
    for (what, file) in expected {
        assert!(said.iter().any(|message| message.contains(what) && message.contains(file)), "{what} {file}: {faults}");
    }
    assert_eq!(faults.total(), expected.len(), "{faults}");
}

/// What `meshup check` says of a configuration, and whether it is content.
fn checked(files: &Files, config: &str) -> (bool, String) {
    files.write(config);
    let config = files.path().join("meshup.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_meshup")).args(["check", "--config"]).arg(config).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_check_reads_certificates_and_keys() {
    let files = Files::new().await;
    let config = files.config(PAIR, "");
    assert_eq!(checked(&files, &config), (true, String::new()));
    files
        .authority
        .issue_with(&["a"], |params| params.not_after = date_time_ymd(2020, 1, 1))
        .write(files.path(), "server");
    let (content, said) = checked(&files, &config);
    assert!(content && said.starts_with("warning: the certificate ") && said.ends_with(" has expired\n"), "{said}");
    replace(&files.path().join("server.key"), &files.authority.issue(&["a"]).key);
    let (content, said) = checked(&files, &config);
    assert!(
        !content && said.contains("does not belong to the certificate") && said.contains("meshup.toml:8:"),
        "{said}"
    );
}

#[tokio::test]
async fn an_expired_certificate_is_served_all_the_same() {
    let files = Files::new().await;
    let expired = files.authority.issue_with(&["proxy.test"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    expired.write(files.path(), "server");
    let proxy = files.start(PAIR);
    let told = handshake(&Arc::new(files.client()), "proxy.test", proxy.address()).await.unwrap_err().to_string();
    assert!(told.contains("expired"), "{told}");
}

#[tokio::test]
async fn tls_comes_to_an_open_listener_and_goes() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    let config = files.config(PAIR, "");
    files.write(&config.replace(&format!("tls = {{ {PAIR} }}\n"), ""));
    assert_eq!(post_reload(&proxy).await.status, 200);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!((answer.text(), answer.header("x-seen-proto")), ("ok", "http"));
    files.write(&config);
    assert_eq!(post_reload(&proxy).await.status, 200);
    assert_eq!(ask(files.client(), "proxy.test", proxy.address()).await.unwrap().text(), "ok");
}

#[tokio::test]
async fn a_drain_ends_a_tls_connection_with_goaway_and_close_notify() {
    let files = Files::new().await;
    let tls = PAIR.replace("server.", &format!("{}/server.", files.path().display()));
    let process = Process::run(&files.config(&tls, "")).await;
    let mut config = files.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = handshake(&Arc::new(config), "proxy.test", process.address()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (settings, _) = frame(&mut stream).await.expect("the server's settings");
    assert_eq!(settings, SETTINGS);
    process.signal("TERM");
    let mut goaway = false;
    // The end of the stream without a close_notify would be an error.
    while let Some((kind, mut content)) = frame(&mut stream).await {
        goaway |= kind == GOAWAY;
        if kind == PING {
            content.splice(0..0, [0, 0, 8, PING, 1, 0, 0, 0, 0]);
            let _ = stream.write_all(&content).await;
        }
    }
    assert!(goaway);
    assert_eq!(process.ended().await.code(), Some(0));
}

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// The next HTTP/2 frame; none at the clean end of the stream.
async fn frame(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    if soon("a frame", stream.read(&mut head[..1])).await.unwrap() == 0 {
        return None;
    }
    stream.read_exact(&mut head[1..]).await.unwrap();
    let mut content = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut content).await.unwrap();
    Some((head[3], content))
}

#[tokio::test]
async fn a_rotation_compiles_no_filter() {
    let files = Files::new().await;
    let rest = format!("filters = [\"f\"]\n{}", filter("f", "\"count\""));
    let proxy = files.try_start(&files.config(PAIR, &rest), false).unwrap_or_else(|error| panic!("{error}"));
    let count = async || ask(files.client(), "proxy.test", proxy.address()).await.unwrap().text().to_owned();
    assert_eq!(count().await, "1");
    fs::remove_dir_all(files.path().join("cache")).unwrap();
    files.issue("server", &["proxy.test"]);
    assert_eq!(post_reload(&proxy).await.status, 200);
    assert_eq!(count().await, "2");
    assert!(!files.path().join("cache").exists());
}

#[tokio::test]
async fn a_request_under_way_is_answered_over_a_rotation() {
    let files = Files::new().await;
    let proxy = files.start(PAIR);
    let client = connect(files.client(), Protocol::Http2, "proxy.test", proxy.address()).await.unwrap();
    let (feed, body) = crate::support::channel();
    let asking = client.exchange(post("/", body));
    let rotating = async {
        eventually("the request arrives", || files.origin.requests() == 1).await;
        files.issue("server", &["proxy.test"]);
        assert_eq!(post_reload(&proxy).await.status, 200);
        feed.send("late").await;
        drop(feed);
    };
    let (answer, ()) = tokio::join!(asking, rotating);
    assert_eq!(answer.text(), "ok");
}
