//! Configuration and modules change under a running proxy, and no exchange notices.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use meshup::{App, Options, Source, wasm::Compiler};
use tempfile::TempDir;

use crate::support::{
    Answer, Client, Origin, Protocol, Proxy, ROUTE, Wire, empty, eventually, full, get, module, post, soon, upstream,
};

/// A configuration file, the module it names, and a cache of compiled filters, all of one test.
struct Files {
    folder: TempDir,
    origin: std::net::SocketAddr,
}

impl Files {
    fn new(origin: &Origin) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), origin: origin.address };
        fs::copy(module(), files.module()).unwrap();
        files.write(&files.config("first", ""));
        files
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("meshup.toml")
    }

    fn module(&self) -> PathBuf {
        self.folder.path().join("filter.wasm")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// One route over three filters; `name` goes to the innermost, `keys` to the upstream.
    fn config(&self, name: &str, keys: &str) -> String {
        let filter = |filter: &str, action: &str| {
            format!("[filters.{filter}]\nmodule = \"filter.wasm\"\nconfig = {{ do = {action} }}\n")
        };
        format!(
            "workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             {ROUTE}filters = [\"generation\", \"run\", \"replay\"]\n{}{}{}{}{keys}\n",
            filter("generation", "\"generation\""),
            filter("run", &format!("{{ run = \"{name}\" }}")),
            filter("replay", "{ replay = 2 }"),
            upstream("origin", Protocol::Http1, &[self.origin]),
        )
    }

    /// Replaces the configuration as editors do, by a rename.
    fn write(&self, config: &str) {
        replace(&self.path(), config.as_bytes());
    }

    fn start(&self, watch_files: bool) -> Proxy {
        let source = Source::File(self.path());
        Proxy::of(
            App::start(Options { source, cache_dir: Some(self.cache()), compiler: Compiler::InProcess, watch_files })
                .unwrap(),
        )
    }
}

fn replace(path: &Path, content: &[u8]) {
    let next = path.with_extension("next");
    fs::write(&next, content).unwrap();
    fs::rename(next, path).unwrap();
}

/// An origin that gives back the generation it was told.
async fn echo() -> Origin {
    Origin::http(Protocol::Http1, |request: Request<Incoming>| async move {
        let mut response = Response::new(full("ok"));
        let generation = request.headers()["x-generation"].clone();
        response.headers_mut().insert("x-generation", generation);
        response
    })
    .await
}

async fn post_reload(proxy: &Proxy) -> Answer {
    let mut request = post("/reload", empty());
    *request.method_mut() = Method::POST;
    Client::connect(Protocol::Http1, proxy.app().admin()).await.exchange(request).await
}

/// The name that the innermost filter was configured with.
async fn served(proxy: &Proxy) -> String {
    Client::to(proxy, Protocol::Http1).await.get("/").await.header("x-ran").to_owned()
}

async fn serves(proxy: &Proxy, name: &str) {
    soon(name, async { while served(proxy).await != name {} }).await;
}

/// Asks until told to stop; every answer is whole and of one generation.
async fn load(client: Client, stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    while !stop.load(Ordering::SeqCst) {
        let answer = client.exchange(post("/", full("content"))).await;
        assert_eq!((answer.outcome(), answer.text()), ((200, ""), "ok"));
        assert_eq!(answer.header("x-generation"), answer.header("x-generation-after"));
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn case_53_two_hundred_reloads_under_load_fail_no_request() {
    let origin = echo().await;
    let files = Files::new(&origin);
    let proxy = files.start(false);
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut clients = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Http1, Protocol::Http2] {
        let client = Client::to(&proxy, protocol).await;
        clients.push(tokio::spawn(load(client, stop.clone(), answered.clone())));
    }
    let good = fs::read(module()).unwrap();
    for round in 0..200 {
        let before = answered.load(Ordering::SeqCst);
        match round % 10 {
            3 => files.write("rubbish"),
            5 => replace(&files.module(), &good[..good.len() / 2]),
            6 => replace(&files.module(), &good),
            7 => files.write(&files.config("x", "connect_timeout = \"never\"")),
            _ => files.write(&files.config(&format!("r{round}"), &format!("idle_timeout = \"{}s\"", round + 1))),
        }
        let refused = matches!(round % 10, 3 | 5 | 7);
        let answer = post_reload(&proxy).await;
        assert_eq!(answer.status.as_u16(), if refused { 422 } else { 200 }, "{round}: {}", answer.text());
        eventually("requests go on", || answered.load(Ordering::SeqCst) > before).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        soon("a client", client).await.unwrap();
    }
    assert_eq!(served(&proxy).await, "r199");
    assert!(origin.open() <= 8, "{} connections are open: the pools of old generations are closed", origin.open());
}

#[tokio::test]
async fn case_53_a_change_on_disk_is_taken_up_whole_and_a_broken_one_is_not() {
    let origin = echo().await;
    let files = Files::new(&origin);
    let proxy = files.start(true);
    assert_eq!(served(&proxy).await, "first");
    files.write(&files.config("second", ""));
    serves(&proxy, "second").await;

    let third = files.config("third", "");
    fs::write(files.path(), &third[..third.len() / 2]).unwrap();
    assert_eq!(served(&proxy).await, "second");
    fs::write(files.path(), &third).unwrap();
    serves(&proxy, "third").await;

    let good = fs::read(module()).unwrap();
    fs::write(files.module(), &good[..good.len() / 2]).unwrap();
    let refused = post_reload(&proxy).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("filter.wasm"), "{}", refused.text());
    assert_eq!(served(&proxy).await, "third");
    fs::write(files.module(), &good).unwrap();
    files.write(&files.config("fourth", ""));
    serves(&proxy, "fourth").await;
}

#[tokio::test]
async fn a_signal_reloads_too() {
    let origin = echo().await;
    let files = Files::new(&origin);
    let proxy = files.start(false);
    files.write(&files.config("second", ""));
    assert_eq!(served(&proxy).await, "first");
    assert!(proxy.app().reload().await);
    serves(&proxy, "second").await;
}

#[tokio::test]
async fn a_changed_line_compiles_nothing() {
    let origin = echo().await;
    let files = Files::new(&origin);
    let proxy = files.start(false);
    let compiled = || fs::read_dir(files.cache()).map_or(0, Iterator::count);
    assert!(compiled() > 0, "what is compiled is kept on disk");
    fs::remove_dir_all(files.cache()).unwrap();
    files.write(&files.config("second", ""));
    assert_eq!(post_reload(&proxy).await.status, 200);
    assert_eq!((served(&proxy).await.as_str(), compiled()), ("second", 0));
}

#[tokio::test]
async fn an_exchange_ends_in_the_generation_it_began_in() {
    let (gate, opened) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let (gated, arrived) = (gate.clone(), opened.clone());
    let origin = Origin::http(Protocol::Http1, move |request: Request<Incoming>| {
        let (gated, arrived) = (gated.clone(), arrived.clone());
        async move {
            arrived.fetch_add(1, Ordering::SeqCst);
            gated.acquire().await.unwrap().forget();
            let mut response = Response::new(full("ok"));
            response.headers_mut().insert("x-generation", request.headers()["x-generation"].clone());
            response
        }
    })
    .await;
    let files = Files::new(&origin);
    let proxy = files.start(false);
    let client = Client::to(&proxy, Protocol::Http1).await;
    let old = tokio::spawn(async move { client.get("/").await });
    eventually("the request arrives", || opened.load(Ordering::SeqCst) == 1).await;
    files.write(&files.config("second", ""));
    assert_eq!(post_reload(&proxy).await.status, 200);
    gate.add_permits(2);
    let old = soon("the old exchange", old).await.unwrap();
    assert_eq!((old.header("x-generation-after"), old.header("x-ran")), ("1", "first"));
    let new = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!((new.header("x-generation-after"), new.header("x-ran")), ("2", "second"));
}

#[tokio::test]
async fn connections_of_changed_upstreams_are_closed() {
    let origin = echo().await;
    let files = Files::new(&origin);
    let proxy = files.start(false);
    assert_eq!(served(&proxy).await, "first");
    assert_eq!(origin.open(), 1);
    files.write(&files.config("first", "idle_timeout = \"7s\""));
    assert_eq!(post_reload(&proxy).await.status, 200);
    eventually("the old connection is closed", || origin.open() == 0).await;
}

#[tokio::test]
async fn listeners_come_and_go() {
    let origin = echo().await;
    let files = Files::new(&origin);
    let proxy = files.start(false);
    let one = files.config("one", "");
    let second = "[[listeners]]\nname = \"second\"\nlisten = \"127.0.0.2:0\"\n[[routes]]";
    files.write(&one.replacen("[[routes]]", second, 1));
    assert_eq!(post_reload(&proxy).await.status, 200);
    let [(_, first), (_, second)] = proxy.app().listeners()[..] else { panic!("two listeners") };
    for address in [first, second] {
        assert_eq!(Client::connect(Protocol::Http1, address).await.exchange(get("/")).await.text(), "ok");
    }
    let mut kept = Wire::connect(second).await;
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(kept.message().await.unwrap().text(), "ok");
    files.write(&one);
    assert_eq!(post_reload(&proxy).await.status, 200);
    soon("connections are refused", async { while tokio::net::TcpStream::connect(second).await.is_ok() {} }).await;
    kept.rest().await;
    assert_eq!(served(&proxy).await, "one");
}
