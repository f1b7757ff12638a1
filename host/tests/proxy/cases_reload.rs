//! Reloads of configurations that are wrong in every way, under load, and what naive clients see of those that are right.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use meshup::{App, Options, Source, wasm::Compiler};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{Answer, Client, Origin, Protocol, Proxy, ROUTE, Wire, empty, eventually, post, soon, upstream};

/// A proxy of a configuration file, with clients that ask all the time.
struct Reloaded {
    proxy: Proxy,
    folder: TempDir,
    origin: Origin,
    load: Arc<Load>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Reloaded {
    async fn new(watch_files: bool) -> Self {
        let (origin, mut received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        tokio::spawn(async move { while received.recv().await.is_some() {} });
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("meshup.toml"), config(&origin, "")).unwrap();
        let source = Source::File(folder.path().join("meshup.toml"));
        let options = Options { source, cache_dir: None, compiler: Compiler::InProcess, watch_files };
        let proxy = Proxy::of(App::start(options).unwrap());
        let load = Arc::<Load>::default();
        let (address, naive) = (proxy.address(), load.clone());
        let clients = vec![
            tokio::spawn(async move { keep_alive(address, naive).await }),
            tokio::spawn({
                let load = load.clone();
                async move { anew(address, load).await }
            }),
        ];
        Self { proxy, folder, origin, load, clients }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("meshup.toml")
    }

    async fn reload(&self) -> Answer {
        Client::connect(Protocol::Http1, self.proxy.app().admin()).await.exchange(post("/reload", empty())).await
    }

    async fn goes_on(&self) {
        let before = self.load.answered.load(Ordering::SeqCst);
        eventually("requests go on", || self.load.answered.load(Ordering::SeqCst) > before + 4).await;
    }

    async fn end(self) {
        self.load.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            soon("a client", client).await.unwrap();
        }
    }
}

/// Asks on one connection as fast as it can, looks at nothing but `Connection: close`, and loses no request.
async fn keep_alive(address: std::net::SocketAddr, load: Arc<Load>) {
    let mut wire = Wire::connect(address).await;
    while !load.stop.load(Ordering::SeqCst) {
        wire.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        let answer = wire.message().await.expect("an answer to every request");
        assert_eq!(answer.status(), 200);
        load.answered.fetch_add(1, Ordering::SeqCst);
        if answer.field("connection") == Some("close") {
            wire = Wire::connect(address).await;
        }
    }
}

/// Asks on a new connection each time.
async fn anew(address: std::net::SocketAddr, load: Arc<Load>) {
    while !load.stop.load(Ordering::SeqCst) {
        assert_eq!(Client::connect(Protocol::Http1, address).await.get("/").await.outcome(), (200, ""));
        load.answered.fetch_add(1, Ordering::SeqCst);
    }
}

fn config(origin: &Origin, listener: &str) -> String {
    format!(
        "workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         {listener}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    )
}

/// The place and the text of every fault.
fn faults(answer: &Answer) -> Vec<(Option<u64>, String)> {
    assert_eq!(answer.status, 422, "{}", answer.text());
    let document: Value = serde_json::from_str(answer.text()).unwrap();
    let fault = |fault: &Value| (fault["line"].as_u64(), format!("{} {}", fault["message"], fault["help"]));
    document["errors"].as_array().unwrap().iter().map(fault).collect()
}

#[tokio::test]
async fn case_53_a_configuration_with_errors_is_refused_with_its_place_and_the_old_one_serves() {
    let reloaded = Reloaded::new(false).await;
    let good = fs::read_to_string(reloaded.file()).unwrap();
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    for (content, line, said) in [
        (with("upstream = \"origin\"", "upstraem = \"origin\""), Some(9), "upstream"),
        (with("upstream = \"origin\"", "upstream = 7"), Some(9), "upstream"),
        (with("upstream = \"origin\"", "upstream = \"nobody\""), Some(9), "nobody"),
        (with("workers = 2", "workers = \"two\""), Some(1), "two"),
        (with("workers = 2", "workers = -2"), Some(1), "-2"),
        (with("[admin]", "[admin"), Some(2), ""),
        (with("[upstreams.origin]", "[upstreams.origin]\ntimeout = \"1s\""), Some(11), "timeout"),
        (with("\"127.0.0.1:0\"\n\n", "\"127.0.0.1:0\"\nlimits = { max_headers = \"many\" }\n"), Some(7), "many"),
        (with("\"127.0.0.1:0\"\n\n", "\"127.0.0.1:99999\"\n\n"), Some(6), "127.0.0.1:99999"),
        (with("\"127.0.0.1:0\"\n\n", "\"192.0.2.1:80\"\n\n"), Some(6), "cannot listen"),
        (with(ROUTE, &format!("{ROUTE}filters = [\"ghost\"]\n")), Some(10), "ghost"),
        (
            with(ROUTE, &format!("[filters.ghost]\nmodule = \"ghost.wasm\"\n{ROUTE}filters = [\"ghost\"]\n")),
            Some(9),
            "ghost.wasm",
        ),
        (
            with(
                "\"127.0.0.1:0\"\n\n",
                "\"127.0.0.1:0\"\ntls = { certificate = \"a.pem\", private_key = \"b.pem\" }\n",
            ),
            Some(7),
            "a.pem",
        ),
        (good[..good.len() / 2].to_owned(), None, ""),
        (String::new(), None, "listeners"),
        ("\0\0\0\0".into(), None, ""),
        (format!("workers = {}1", "[".repeat(100_000)), None, ""),
    ] {
        fs::write(reloaded.file(), &content).unwrap();
        let told = faults(&reloaded.reload().await);
        let is_it = |fault: &(Option<u64>, String)| fault.1.contains(said) && (line.is_none() || fault.0 == line);
        assert!(told.iter().any(is_it), "{said:?} in line {line:?}: {told:?}");
        reloaded.goes_on().await;
    }
    fs::write(reloaded.file(), b"workers = 2 # \xff\xfe").unwrap();
    assert_eq!(reloaded.reload().await.status, 422);
    fs::remove_file(reloaded.file()).unwrap();
    let told = faults(&reloaded.reload().await);
    assert!(told[0].1.contains("No such file"), "{told:?}");
    fs::create_dir(reloaded.file()).unwrap();
    assert_eq!(reloaded.reload().await.status, 422);
    fs::remove_dir(reloaded.file()).unwrap();
    reloaded.goes_on().await;
    fs::write(reloaded.file(), &good).unwrap();
    assert!(reloaded.reload().await.text().contains("unchanged"));
    reloaded.end().await;
}

#[tokio::test]
async fn case_53_a_file_that_vanishes_is_taken_up_when_it_is_back() {
    let reloaded = Reloaded::new(true).await;
    for generation in 2..5_u64 {
        fs::remove_file(reloaded.file()).unwrap();
        reloaded.goes_on().await;
        let listener = format!("limits = {{ max_headers = {} }}", 100 + generation);
        fs::write(reloaded.file(), config(&reloaded.origin, &listener)).unwrap();
        let admin = Client::connect(Protocol::Http1, reloaded.proxy.app().admin()).await;
        let expected = format!("\"max_headers\":{}", 100 + generation);
        let in_service = async { while !admin.get("/config").await.text().replace(' ', "").contains(&expected) {} };
        soon("the new configuration", in_service).await;
    }
    reloaded.end().await;
}

#[tokio::test]
async fn case_53_naive_clients_lose_nothing_when_everything_changes() {
    let reloaded = Reloaded::new(false).await;
    for round in 0..30 {
        let listener = format!("limits = {{ max_headers = {}, idle_timeout = \"{}s\" }}", 50 + round, 10 + round);
        let routes = format!("{}idle_timeout = \"{}s\"\n", config(&reloaded.origin, &listener), 20 + round);
        let routes = routes.replacen(ROUTE, &format!("{ROUTE}name = \"r{round}\"\ntimeout = \"{}s\"\n", 30 + round), 1);
        fs::write(reloaded.file(), routes).unwrap();
        let answer = reloaded.reload().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        reloaded.goes_on().await;
    }
    reloaded.end().await;
}
