//! Endpoints by name, before a name server that answers as a test says.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use hickory_proto::rr::{RData, RecordType, rdata::A};
use meshup::{App, Options, Source, wasm::Compiler};
use serde_json::Value;

use crate::support::{
    Client, NameServer, Protocol, Proxy, ROUTE, Saying, empty, eventually, get,
    place::{FIRST, Place, SECOND, SIXTH},
    post, soon,
};

pub(crate) const NAME: &str = "orders.example";
/// Above what a look-up and its answer take, below what a look-up may take where this is used.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);

pub(crate) fn config(server: &NameServer, endpoint: &str) -> String {
    format!(
        "{}{ROUTE}[upstreams.origin]\nload_balancing = \"round_robin\"\nendpoints = [\"{endpoint}\"]\n",
        server.config()
    )
}

pub(crate) fn named(port: u16) -> String {
    format!("{NAME}:{port}")
}

pub(crate) async fn ask(proxy: &Proxy) -> String {
    Client::to(proxy, Protocol::Http1).await.get("/").await.text().to_owned()
}

/// How often each origin answered.
pub(crate) async fn shares(proxy: &Proxy, requests: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..requests {
        *shares.entry(ask(proxy).await).or_default() += 1;
    }
    shares
}

pub(crate) async fn answers(proxy: &Proxy, ip: IpAddr) {
    soon(&format!("{ip} answers"), async { while ask(proxy).await != ip.to_string() {} }).await;
}

/// What the admin listener tells of the upstream.
pub(crate) async fn told(proxy: &Proxy) -> Value {
    let answer = Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/upstreams").await;
    serde_json::from_slice::<Value>(&answer.body).unwrap()["upstreams"]["origin"].clone()
}

pub(crate) async fn is_told(proxy: &Proxy, name: &str, state: &str) -> Value {
    soon(state, async {
        loop {
            let told = told(proxy).await;
            if told["names"][name]["state"] == state {
                return told;
            }
        }
    })
    .await
}

pub(crate) async fn metrics(proxy: &Proxy) -> String {
    Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/metrics").await.text().to_owned()
}

#[tokio::test]
async fn case_48_dns_changed_new_requests_follow_and_old_ones_finish() {
    let [first, second] = Place::open_all([FIRST, SECOND]).await;
    let server = NameServer::start();
    server.host(NAME, 1, &[FIRST]);
    let proxy = Proxy::start(&config(&server, &named(first.address.port())));
    assert_eq!(ask(&proxy).await, FIRST.to_string());
    let client = Client::to(&proxy, Protocol::Http1).await;
    let slow = tokio::spawn(async move { client.get("/slow").await });
    eventually("the slow request arrives", || first.waiting.load(Ordering::SeqCst) == 1).await;

    server.host(NAME, 1, &[SECOND]);
    answers(&proxy, SECOND).await;
    assert_eq!(shares(&proxy, 10).await, HashMap::from([(SECOND.to_string(), 10)]));
    first.slow.add_permits(1);
    let answer = soon("the slow request", slow).await.unwrap();
    assert_eq!((answer.outcome(), answer.text()), ((200, ""), "127.0.0.1"));
    eventually("connections to the old address are closed", || first.open_connections() == 0).await;
    assert_eq!(second.accepted.load(Ordering::SeqCst), 1, "those to the new one are kept");
}

#[tokio::test]
async fn case_48_dns_every_address_is_used_and_one_that_stays_keeps_its_connections() {
    let [first, second, sixth] = Place::open_all([FIRST, SECOND, SIXTH]).await;
    let server = NameServer::start();
    server.host(NAME, 1, &[FIRST, FIRST]);
    let proxy = Proxy::start(&config(&server, &named(first.address.port())));
    assert_eq!(ask(&proxy).await, FIRST.to_string());
    server.host(NAME, 1, &[SECOND, SIXTH, FIRST]);
    answers(&proxy, SIXTH).await;
    let all = [FIRST, SECOND, SIXTH].map(|ip| (ip.to_string(), 4));
    assert_eq!(shares(&proxy, 12).await, HashMap::from(all));
    for place in [first, second, sixth] {
        assert_eq!(place.accepted.load(Ordering::SeqCst), 1, "{}", place.address);
    }
}

#[tokio::test]
async fn case_48_dns_failures_keep_the_last_good_answer() {
    let [first, _second] = Place::open_all([FIRST, SECOND]).await;
    for (saying, result) in [
        (Saying::NO_NAME, "no-name"),
        (Saying::EMPTY, "empty"),
        (Saying::FAILURE, "refused"),
        (Saying::Nothing, "timeout"),
    ] {
        let server = NameServer::start();
        server.host(NAME, 1, &[FIRST]);
        let dns = server.config();
        let endpoint = named(first.address.port());
        let slow_to_fail = config(&server, &endpoint).replace(&dns, &format!("{dns}timeout = \"300ms\"\n"));
        let proxy = Proxy::start(&slow_to_fail);
        assert_eq!(is_told(&proxy, &endpoint, "resolved").await["names"][&endpoint]["addresses"], 1);
        server.say(NAME, &saying);
        let told = is_told(&proxy, &endpoint, "failing").await;
        assert_eq!(told["names"][&endpoint]["addresses"], 1);
        assert!(told["names"][&endpoint]["last_failure"].is_string());
        assert_eq!(told["endpoints"].as_array().unwrap().len(), 1);
        assert_eq!(ask(&proxy).await, FIRST.to_string(), "{result}");
        let counted = format!("meshup_dns_lookups_total{{name=\"{endpoint}\",result=\"{result}\"}}");
        assert!(metrics(&proxy).await.contains(&counted), "{counted}");
        server.host(NAME, 1, &[SECOND]);
        answers(&proxy, SECOND).await;
        is_told(&proxy, &endpoint, "resolved").await;
    }
}

#[tokio::test]
async fn case_48_dns_a_silent_server_blocks_no_request() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.host(NAME, 1, &[FIRST]);
    let dns = server.config();
    let endpoint = named(first.address.port());
    let patient = |endpoint: &str| config(&server, endpoint).replace(&dns, &format!("{dns}timeout = \"60s\"\n"));
    let proxy = Proxy::start(&patient(&endpoint));
    server.say(NAME, &Saying::Nothing);
    eventually("a look-up is under way", || server.asked(NAME, RecordType::A).len() >= 2).await;
    let began = Instant::now();
    assert_eq!(shares(&proxy, 5).await, HashMap::from([(FIRST.to_string(), 5)]));
    assert!(began.elapsed() < AT_ONCE);

    let began = Instant::now();
    let proxy = Proxy::start(&patient(&endpoint));
    assert!(began.elapsed() < AT_ONCE, "a start waits a short while only");
    assert_eq!(told(&proxy).await["names"][&endpoint]["state"], "pending");
    let began = Instant::now();
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!(answer.outcome(), (503, "no-upstream"));
    assert!(answer.text().contains("none of its names is resolved yet"), "{}", answer.text());
    assert!(began.elapsed() < AT_ONCE);
}

#[tokio::test]
async fn case_48_dns_a_thousand_records_are_bounded() {
    let server = NameServer::start();
    let all: Vec<_> = (0..1000_u16).map(|n| RData::A(A(Ipv4Addr::from([127, 1, (n >> 8) as u8, n as u8])))).collect();
    server.say_to(NAME, RecordType::A, Saying::Records(1, all.clone()));
    server.say_to(NAME, RecordType::AAAA, Saying::EMPTY);
    let proxy = Proxy::start(&config(&server, &named(1)));
    let addresses = async || {
        let told = told(&proxy).await;
        told["endpoints"].as_array().unwrap().iter().map(|endpoint| endpoint["address"].clone()).collect::<Vec<_>>()
    };
    let kept = addresses().await;
    assert_eq!(kept.len(), 256);
    server.say_to(NAME, RecordType::A, Saying::Records(1, all.into_iter().rev().collect()));
    let asked = server.asked(NAME, RecordType::A).len();
    // Over UDP and then over TCP.
    eventually("it is looked up again", || server.asked(NAME, RecordType::A).len() >= asked + 4).await;
    assert_eq!(addresses().await, kept, "the order of an answer makes no difference");

    let fewer = (0..256_u16).map(|n| RData::A(A(Ipv4Addr::from([127, 2, 0, n as u8]))));
    server.say_to(NAME, RecordType::A, Saying::Records(1, fewer.collect()));
    soon("as many as may be", async { while addresses().await.iter().any(|one| kept.contains(one)) {} }).await;
    assert_eq!(addresses().await.len(), 256);
}

#[tokio::test]
async fn case_48_dns_a_ttl_of_0_asks_once_a_second() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.host(NAME, 0, &[FIRST]);
    let proxy = Proxy::start(&config(&server, &named(first.address.port())));
    let asked = || server.asked(NAME, RecordType::A);
    soon("three look-ups", async {
        while asked().len() < 3 {
            ask(&proxy).await;
        }
    })
    .await;
    for pair in asked().windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(990), "{:?}", pair[1] - pair[0]);
    }
}

#[tokio::test]
async fn case_48_dns_a_long_ttl_is_not_asked_again() {
    let [first, _second] = Place::open_all([FIRST, SECOND]).await;
    let server = NameServer::start();
    server.host(NAME, 3600, &[FIRST]);
    server.host("other.example", 0, &[FIRST]);
    let port = first.address.port();
    let proxy = Proxy::start(&config(&server, &format!("{NAME}:{port}\", \"other.example:{port}")));
    eventually("the other is asked again", || server.asked("other.example", RecordType::A).len() >= 3).await;
    assert_eq!(server.asked(NAME, RecordType::A).len(), 1);
    assert_eq!(told(&proxy).await["endpoints"].as_array().unwrap().len(), 1, "an address of two names is one endpoint");
}

#[tokio::test]
async fn a_name_that_does_not_exist_at_the_start_may_appear() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    let endpoint = named(first.address.port());
    let proxy = Proxy::start(&config(&server, &endpoint));
    let answer = Client::to(&proxy, Protocol::Http2).await.get("/").await;
    assert_eq!(answer.outcome(), (503, "no-upstream"));
    assert_eq!(told(&proxy).await["names"][&endpoint]["last_failure"], "there is no such name");
    server.host(NAME, 60, &[FIRST]);
    answers(&proxy, FIRST).await;
}

#[tokio::test]
async fn one_family_that_fails_does_not_keep_the_other_from_being_used() {
    let [_first, sixth] = Place::open_all([FIRST, SIXTH]).await;
    let server = NameServer::start();
    server.host(NAME, 1, &[FIRST]);
    server.say_to(NAME, RecordType::AAAA, Saying::FAILURE);
    let proxy = Proxy::start(&config(&server, &named(sixth.address.port())));
    assert_eq!(ask(&proxy).await, FIRST.to_string());
    server.host(NAME, 1, &[FIRST, SIXTH]);
    drop(proxy);

    let proxy = Proxy::start(&config(&server, &named(sixth.address.port())));
    let both = HashMap::from([FIRST, SIXTH].map(|ip| (ip.to_string(), 2)));
    assert_eq!(shares(&proxy, 4).await, both);
    let asked = server.asked(NAME, RecordType::AAAA).len();
    server.say_to(NAME, RecordType::AAAA, Saying::FAILURE);
    eventually("the failure", || server.asked(NAME, RecordType::AAAA).len() > asked + 1).await;
    assert_eq!(shares(&proxy, 4).await, both, "what it said last stays");
}

#[tokio::test]
async fn a_preferred_family_is_the_only_one_where_there_is_any() {
    let [first, _sixth] = Place::open_all([FIRST, SIXTH]).await;
    let server = NameServer::start();
    server.host(NAME, 60, &[FIRST, SIXTH]);
    server.host("old.example", 60, &[FIRST]);
    let dns = server.config();
    for (prefer, name, expected) in [("ipv4", NAME, FIRST), ("ipv6", NAME, SIXTH), ("ipv6", "old.example", FIRST)] {
        let endpoint = format!("{name}:{}", first.address.port());
        let config = config(&server, &endpoint).replace(&dns, &format!("{dns}prefer = \"{prefer}\"\n"));
        assert_eq!(shares(&Proxy::start(&config), 4).await, HashMap::from([(expected.to_string(), 4)]), "{prefer}");
    }
}

#[tokio::test]
async fn a_service_has_the_ports_and_shares_of_its_lowest_priority() {
    let [first] = Place::open_all([FIRST]).await;
    let [second] = Place::open_all([SECOND]).await;
    let [third] = Place::open_all([IpAddr::from([127, 0, 0, 3])]).await;
    let server = NameServer::start();
    for (name, place) in [("one.example", &first), ("two.example", &second), ("three.example", &third)] {
        server.host(name, 60, &[place.address.ip()]);
    }
    let ports = [&first, &second, &third].map(|place| place.address.port());
    let targets =
        [(1, 30, ports[0], "one.example"), (1, 10, ports[1], "two.example"), (2, 100, ports[2], "three.example")];
    server.service("_http._tcp.orders.example", 1, &targets);
    let proxy = Proxy::start(&config(&server, "srv:_http._tcp.orders.example"));
    let told = told(&proxy).await;
    assert_eq!(told["endpoints"].as_array().unwrap().len(), 2, "{told}");
    let shares_now = shares(&proxy, 44).await;
    assert_eq!(shares_now.get("127.0.0.3"), None);
    let (one, two) = (shares_now["127.0.0.1"], shares_now["127.0.0.2"]);
    assert!((30..=36).contains(&one) && one + two == 44, "{one} to {two}");

    server.service("_http._tcp.orders.example", 1, &targets[2..]);
    answers(&proxy, third.address.ip()).await;
    server.service("_http._tcp.orders.example", 1, &[(0, 0, 80, "")]);
    is_told(&proxy, "srv:_http._tcp.orders.example", "failing").await;
    assert_eq!(ask(&proxy).await, "127.0.0.3", "no such service: the last answer stays");
}

#[tokio::test]
async fn the_hosts_file_comes_before_the_name_server() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.host("localhost", 60, &[SECOND]);
    let proxy = Proxy::start(&config(&server, &format!("localhost:{}", first.address.port())));
    assert_eq!(ask(&proxy).await, FIRST.to_string());
    assert!(server.asked("localhost", RecordType::A).is_empty());
}

/// A proxy of a file that the test changes.
pub(crate) struct Reloaded {
    folder: tempfile::TempDir,
    pub(crate) proxy: Proxy,
}

impl Reloaded {
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meshup.toml");
        std::fs::write(&path, Self::whole(config)).unwrap();
        let (source, compiler) = (Source::File(path), Compiler::InProcess);
        let app = App::start(Options { source, cache_dir: None, compiler, watch_files: false }).unwrap();
        Self { folder, proxy: Proxy::of(app) }
    }

    fn whole(config: &str) -> String {
        format!(
            "workers = 2\nadmin.listen = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{config}"
        )
    }

    pub(crate) async fn reload(&self, config: &str) {
        std::fs::write(self.folder.path().join("meshup.toml"), Self::whole(config)).unwrap();
        let admin = Client::connect(Protocol::Http1, self.proxy.app().admin()).await;
        let answer = admin.exchange(post("/reload", empty())).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        assert!(answer.text().contains("\"ok\""), "{}", answer.text());
    }
}

#[tokio::test]
async fn case_48_dns_a_reload_keeps_addresses_and_connections() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.host(NAME, 60, &[FIRST]);
    let config = config(&server, &named(first.address.port()));
    let reloaded = Reloaded::start(&config);
    let client = Client::to(&reloaded.proxy, Protocol::Http1).await;
    assert_eq!(client.get("/").await.text(), FIRST.to_string());
    server.say(NAME, &Saying::Nothing);
    for round in 1..=5 {
        let began = Instant::now();
        reloaded.reload(&config.replace("[[routes]]\n", &format!("[[routes]]\ntimeout = \"{round}m\"\n"))).await;
        assert!(began.elapsed() < AT_ONCE);
        // HTTP/1 connections stay with their worker, so the pool is the same one.
        assert_eq!(client.get("/").await.text(), FIRST.to_string());
    }
    assert_eq!(first.accepted.load(Ordering::SeqCst), 1);
    assert_eq!(server.asked(NAME, RecordType::A).len(), 1);

    let settings = config.replace("[dns]\n", "[dns]\nprefer = \"ipv4\"\n");
    reloaded.reload(&settings).await;
    assert_eq!(client.get("/").await.text(), FIRST.to_string(), "also where names are looked up differently now");
}

#[tokio::test]
async fn case_48_dns_a_reload_resolves_new_names_before_the_swap() {
    let [first, _second] = Place::open_all([FIRST, SECOND]).await;
    let server = NameServer::start();
    server.host(NAME, 60, &[FIRST]);
    server.host("next.example", 60, &[SECOND]);
    let config = config(&server, &named(first.address.port()));
    let reloaded = Reloaded::start(&config);
    assert_eq!(ask(&reloaded.proxy).await, FIRST.to_string());
    reloaded.reload(&config.replace(NAME, "next.example")).await;
    assert_eq!(ask(&reloaded.proxy).await, SECOND.to_string());
    eventually("the old connection is closed", || first.open_connections() == 0).await;
}

#[tokio::test]
async fn a_name_that_nobody_uses_is_not_looked_up_any_more() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    for name in [NAME, "next.example"] {
        server.host(name, 0, &[FIRST]);
    }
    let config = config(&server, &named(first.address.port()));
    let reloaded = Reloaded::start(&config);
    reloaded.reload(&config.replace(NAME, "next.example")).await;
    // What was under way may end.
    let before = server.asked(NAME, RecordType::A).len() + 1;
    eventually("the other is", || server.asked("next.example", RecordType::A).len() >= 4).await;
    assert!(server.asked(NAME, RecordType::A).len() <= before);
}

#[tokio::test]
async fn http2_follows_a_name_too() {
    use http::Response;
    let answer = |_| async { Response::new(crate::support::full("h2")) };
    let origin = crate::support::Origin::http(Protocol::Http2, answer).await;
    let server = NameServer::start();
    server.host(NAME, 1, &[FIRST]);
    let config = config(&server, &named(origin.address.port())) + "protocol = \"http2\"\n";
    let proxy = Proxy::start(&config);
    assert_eq!(ask(&proxy).await, "h2");
    server.host(NAME, 1, &[SECOND]);
    eventually("the connection to the old address is closed", || origin.open() == 0).await;
    let answer = Client::to(&proxy, Protocol::Http1).await.exchange(get("/")).await;
    assert_eq!(answer.outcome(), (503, "connect-failure"));
}

#[test]
fn check_looks_no_name_up() {
    let server = NameServer::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshup.toml");
    let endpoints = format!("{NAME}:80\", \"srv:_http._tcp.{NAME}");
    std::fs::write(&path, Reloaded::whole(&config(&server, &endpoints))).unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_meshup")).args(["check", "--config"]).arg(&path).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    assert!(server.asked(NAME, RecordType::A).is_empty());
}
