//! The admin listener over real sockets: what it tells, what it does, what it refuses.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use meshup::{App, Options, Source, wasm::Compiler};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);
const ADMIN: &str = "workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n";

fn start(source: Source) -> Result<App, meshup::StartError> {
    App::start(Options { source, cache_dir: None, compiler: Compiler::InProcess, watch_files: false })
}

fn start_file(path: &Path, config: &str) -> App {
    std::fs::write(path, config).unwrap();
    start(Source::File(path.to_owned())).unwrap()
}

/// A proxy before an origin that answers everything with 200; the filter `keys` knows the key "secret".
fn config(origin: SocketAddr) -> String {
    let digest = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    format!(
        r#"{ADMIN}
[[listeners]]
name = "http"
listen = "127.0.0.1:0"

[filters.keys]
module = "builtin:api-key"
config = {{ keys = {{ alice = "{digest}" }} }}

[[routes]]
name = "orders"
filters = ["keys"]
upstream = "orders"

[upstreams.orders]
endpoints = ["{origin}"]
"#
    )
}

/// Answers every connection's requests with 200 until the test ends.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_all(stream));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json\r\n"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }
}

fn request(address: SocketAddr, method: &str, path: &str, headers: &str) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: format!("{head}\r\n"), body: body.to_owned() }
}

fn get(app: &App, path: &str) -> Reply {
    request(app.admin(), "GET", path, "")
}

fn reload(app: &App) -> Reply {
    request(app.admin(), "POST", "/reload", "")
}

/// A request through the proxy.
fn order(app: &App) -> u16 {
    request(app.listeners()[0].1, "GET", "/", "x-api-key: secret\r\n").status
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn health_readiness_and_the_list_of_endpoints() {
    let app = start(Source::Text(config(origin()))).unwrap();
    assert_eq!(get(&app, "/healthz").status, 200);
    wait_until("ready", || get(&app, "/readyz").status == 200);
    assert_eq!(get(&app, "/readyz").json(), serde_json::json!({ "status": "ready", "generation": 1 }));
    let index = get(&app, "/").json();
    let paths: Vec<_> =
        index["endpoints"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/", "/healthz", "/readyz", "/metrics", "/config", "/filters", "/upstreams", "/reload"]);
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let app = start(Source::Text(config(origin()))).unwrap();
    let reply = request(app.admin(), "HEAD", "/healthz", "");
    assert_eq!((reply.status, &*reply.body), (200, ""));
    assert!(reply.head.contains("content-length: 19\r\n"), "{}", reply.head);
}

#[test]
fn unknown_paths_and_methods_are_refused() {
    let app = start(Source::Text(config(origin()))).unwrap();
    let unknown = get(&app, "/nothing?here");
    assert_eq!((unknown.status, unknown.json()["error"].as_str()), (404, Some("not-found")));
    for (method, path, allowed) in
        [("GET", "/reload", "POST"), ("POST", "/config", "GET, HEAD"), ("DELETE", "/", "GET, HEAD")]
    {
        let refused = request(app.admin(), method, path, "");
        assert_eq!((refused.status, refused.json()["error"].as_str()), (405, Some("method-not-allowed")), "{path}");
        assert!(refused.head.contains(&format!("allow: {allowed}\r\n")), "{}", refused.head);
    }
}

#[test]
fn a_request_head_has_limits() {
    let app = start(Source::Text(config(origin()))).unwrap();
    let many = |count| {
        (0..count).fold(String::new(), |mut text, n| {
            write!(text, "x-{n}: 1\r\n").unwrap();
            text
        })
    };
    let long = |bytes| format!("x-long: {}\r\n", "x".repeat(bytes));
    for (headers, status) in [(many(50), 200), (many(80), 431), (long(8 << 10), 200), (long(17 << 10), 431)] {
        assert_eq!(request(app.admin(), "GET", "/healthz", &headers).status, status, "{} bytes", headers.len());
    }
}

#[test]
fn metrics_count_what_went_through() {
    let app = start(Source::Text(config(origin()))).unwrap();
    assert_eq!(order(&app), 200);
    let reply = get(&app, "/metrics");
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    for name in ["meshup_requests_total{", "meshup_request_duration_seconds_bucket{", "meshup_upstream_requests_total{"]
    {
        assert!(reply.body.contains(name), "{name} is not in\n{}", reply.body);
    }
    for name in ["meshup_generation ", "meshup_connections_active ", "meshup_filter_faults_total{"] {
        assert!(reply.body.contains(name), "{name} is not in\n{}", reply.body);
    }
}

#[test]
fn the_effective_configuration_hides_secrets() {
    let app = start(Source::Text(config(origin()))).unwrap();
    let reply = get(&app, "/config");
    assert_eq!(reply.json()["upstreams"]["orders"]["connect_timeout"], "1s");
    assert!(!reply.body.contains("2bb80d53"), "{}", reply.body);
}

#[test]
fn filters_tell_what_they_are_and_did() {
    let app = start(Source::Text(config(origin()))).unwrap();
    assert_eq!(order(&app), 200);
    wait_until("the call is counted", || get(&app, "/filters").json()["filters"]["keys"]["calls"] != 0);
    let document = get(&app, "/filters").json();
    let keys = &document["filters"]["keys"];
    assert_eq!(document["last_reload_failure"], Value::Null);
    assert_eq!(keys["module"], "builtin:api-key");
    assert_eq!((&keys["on_error"], &keys["isolation"]), (&"deny".into(), &"worker".into()));
    assert_eq!((&keys["generation"], &keys["faults"]), (&1.into(), &serde_json::json!({})));
    assert_eq!(keys["digest"].as_str().map(str::len), Some("sha256:".len() + 64));
    assert!(keys["size_bytes"].as_u64() > Some(1000) && keys["mean_call_seconds"].as_f64() > Some(0.0), "{keys}");
}

#[test]
fn upstreams_tell_their_endpoints_state() {
    let (living, dead) = (origin(), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let endpoints = |origin: SocketAddr| config(origin).replace("endpoints = [", &format!("endpoints = [\"{dead}\", "));
    let app = start(Source::Text(endpoints(living))).unwrap();
    let endpoint = |at: usize| get(&app, "/upstreams").json()["upstreams"]["orders"]["endpoints"][at].clone();
    wait_until("the dead endpoint is noticed", || order(&app) == 200 && endpoint(0)["healthy"] == false);
    assert!(endpoint(0)["last_failure"].is_string());
    wait_until("a connection is pooled", || endpoint(1)["connections"] != 0);
    assert_eq!((&endpoint(1)["address"], &endpoint(1)["healthy"]), (&living.to_string().into(), &true.into()));
    let workers = get(&app, "/upstreams").json()["workers"].clone();
    assert_eq!((workers.as_array().map(Vec::len), &workers[1]["generation"]), (Some(2), &1.into()));
}

#[test]
fn a_reload_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshup.toml");
    let good = config(origin());
    let app = start_file(&path, &good);
    assert_eq!(reload(&app).json(), serde_json::json!({ "generation": 1, "result": "unchanged" }));

    std::fs::write(&path, good.replace("name = \"orders\"", "name = \"all\"")).unwrap();
    let reloaded = reload(&app);
    assert_eq!((reloaded.status, reloaded.json()["generation"].as_u64()), (200, Some(2)));
    assert_eq!(get(&app, "/config").json()["routes"][0]["name"], "all");

    std::fs::write(&path, good.replace("upstream = \"orders\"", "upstream = \"order\"\ntimeout = 5")).unwrap();
    let refused = reload(&app);
    let document = refused.json();
    assert_eq!((refused.status, &document["generation"], &document["result"]), (422, &2.into(), &"error".into()));
    assert_eq!((document["errors"].as_array().map(Vec::len), &document["total"]), (Some(2), &2.into()));
    assert!(document["text"].as_str().is_some_and(|text| text.contains("did you mean `orders`?")), "{document}");
    let failure = get(&app, "/filters").json()["last_reload_failure"].clone();
    assert_eq!(failure["errors"], document["errors"]);
    assert!(failure["unix_seconds"].as_u64() > Some(1_700_000_000));
    assert_eq!(order(&app), 200);

    std::fs::write(&path, &good).unwrap();
    assert_eq!(reload(&app).json()["generation"], 3);
    assert_eq!(get(&app, "/filters").json()["last_reload_failure"], Value::Null);
}

#[test]
fn the_admin_address_changes_at_the_next_start_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshup.toml");
    let good = config(origin());
    let app = start_file(&path, &good);
    std::fs::write(&path, good.replacen("127.0.0.1:0", "127.0.0.1:1", 1)).unwrap();
    assert_eq!(reload(&app).json()["result"], "unchanged");
    assert_eq!(get(&app, "/healthz").status, 200);
}

#[test]
fn readiness_fails_from_the_drain_on_and_admin_answers_to_the_end() {
    let config = format!("drain_delay = \"1s\"\n{}", config(origin()));
    let app = start(Source::Text(config)).unwrap();
    let (admin, listener) = (app.admin(), app.listeners()[0].1);
    wait_until("ready", || get(&app, "/readyz").status == 200);
    let drained = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(app.drain());
    });
    wait_until("not ready", || request(admin, "GET", "/readyz", "").status == 503);
    assert_eq!(request(admin, "GET", "/readyz", "").json()["status"], "draining");
    assert_eq!(request(listener, "GET", "/", "x-api-key: secret\r\n").status, 200);
    assert_eq!(request(admin, "GET", "/healthz", "").status, 200);
    drained.join().unwrap();
    assert!(TcpStream::connect(admin).is_err());
}

#[test]
fn an_address_in_use_is_reported_at_its_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let good = config(origin());
    for (line, config) in [
        (3, good.replacen("127.0.0.1:0", &address, 1)),
        (7, good.replace("\"http\"\nlisten = \"127.0.0.1:0\"", &format!("\"http\"\nlisten = \"{address}\""))),
    ] {
        let error = start(Source::Text(config)).map(drop).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
        assert!(error.contains(&format!("(built in):{line}:10\n")), "{error}");
    }
}
