//! Who listens on an address: one process, with a socket for each of its workers.

use std::{
    net::SocketAddr,
    process::{Command, Output},
};

use http::Response;

use crate::support::{
    Client, Origin, Process, Protocol, Proxy, ROUTE, Wire, empty, eventually, full, post, soon, upstream,
};

const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn listener(name: &str, address: impl std::fmt::Display) -> String {
    format!("[[listeners]]\nname = \"{name}\"\nlisten = \"{address}\"\n")
}

fn config(listeners: &str) -> String {
    format!("workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n{listeners}")
}

async fn origin() -> Origin {
    Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await
}

/// A proxy with two workers before `origin`.
fn started(listeners: &str, origin: &Origin) -> Proxy {
    let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
    Proxy::start(&format!("workers = 2\n{listeners}{ROUTE}{upstream}"))
}

/// A start that has to fail.
fn start(config: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshup.toml");
    std::fs::write(&path, config).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_meshup"));
    run.args(["run", "--config"]).arg(&path).args(["--cache-dir"]).arg(folder.path()).output().unwrap()
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_second_process_does_not_share_an_address() {
    let process = Process::run(&config(&listener("http", "127.0.0.1:0"))).await;
    let port = process.address().port();
    for taken in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let second = start(&config(&listener("second", &taken)));
        let told = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(1), "{taken}: {told}");
        let expected = format!("listener \"second\": cannot listen on {taken}: Address already in use");
        assert!(told.contains(&expected), "{told}");
    }
}

#[tokio::test]
async fn a_reload_does_not_share_an_address_with_another_process() {
    let other = Process::run(&config(&listener("http", "127.0.0.1:0"))).await;
    let process = Process::run(&config(&listener("http", "127.0.0.1:0"))).await;
    let both = listener("http", "127.0.0.1:0") + &listener("taken", other.address());
    std::fs::write(process.config(), config(&both)).unwrap();
    let reload = Client::connect(Protocol::Http1, process.admin()).await.exchange(post("/reload", empty())).await;
    assert_eq!(reload.status, 422);
    let expected = format!("listener \\\"taken\\\": cannot listen on {}: Address already in use", other.address());
    assert!(reload.text().contains(&expected), "{}", reload.text());
}

/// Whether every worker has connections, as `/upstreams` tells.
async fn all_workers_have_connections(admin: SocketAddr) -> bool {
    let answer = Client::connect(Protocol::Http1, admin).await.get("/upstreams").await;
    let told: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    let workers = told["workers"].as_array().unwrap();
    workers.len() == 2 && workers.iter().all(|worker| worker["connections"].as_u64() > Some(0))
}

#[tokio::test]
async fn every_worker_gets_connections() {
    let origin = origin().await;
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let proxy = started(&listener("http", address), &origin);
        let reached = SocketAddr::from(([127, 0, 0, 1], proxy.address().port()));
        let mut wires = Vec::new();
        for _ in 0..64 {
            wires.push(Wire::connect(reached).await);
        }
        soon(address, async { while !all_workers_have_connections(proxy.app().admin()).await {} }).await;
    }
}

#[tokio::test]
async fn listeners_of_one_process_may_overlap() {
    let origin = origin().await;
    let port = free_port();
    let (all, one) = (format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}"));
    let proxy = started(&(listener("all", all) + &listener("one", one)), &origin);
    assert_eq!(Client::connect(Protocol::Http1, proxy.app().listeners()[1].1).await.get("/").await.text(), "ok");
}

#[tokio::test]
async fn a_reload_moves_a_listener_to_an_overlapping_address_and_back() {
    let origin = origin().await;
    let process = Process::run(&config(&listener("http", "127.0.0.1:0"))).await;
    let (one, all) = (process.address(), format!("0.0.0.0:{}", process.address().port()));
    let rest = format!("{ROUTE}{}", upstream("origin", Protocol::Http1, &[origin.address]));
    for listeners in [listener("all", &all), listener("one", one), listener("all", all)] {
        std::fs::write(process.config(), config(&(listeners + &rest))).unwrap();
        let reload = Client::connect(Protocol::Http1, process.admin()).await.exchange(post("/reload", empty())).await;
        // The file watch may have been faster.
        assert_eq!(reload.status, 200, "{}", reload.text());
        assert_eq!(Client::connect(Protocol::Http1, one).await.get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn an_address_is_free_again_when_its_connections_wait_for_their_end() {
    let origin = origin().await;
    let proxy = started(&listener("http", "127.0.0.1:0"), &origin);
    let address = proxy.address();
    let mut wire = Wire::connect(address).await;
    wire.send(GET_AND_CLOSE).await;
    // The proxy closed first, so that the system keeps the port in TIME_WAIT.
    assert!(soon("the end", wire.rest()).await.ends_with(b"ok"));
    drop((wire, proxy));
    let next = started(&listener("http", address), &origin);
    assert_eq!(Client::to(&next, Protocol::Http1).await.get("/").await.text(), "ok");
}

#[tokio::test]
async fn an_address_is_free_again_while_the_former_process_drains() {
    let (origin, go) = Origin::gated(Protocol::Http1).await;
    let rest = format!("{ROUTE}{}", upstream("origin", Protocol::Http1, &[origin.address]));
    let former = Process::run(&config(&(listener("http", "127.0.0.1:0") + &rest))).await;
    let address = former.address();
    let client = Client::connect(Protocol::Http1, address).await;
    let asking = tokio::spawn(async move { client.get("/").await });
    eventually("the request arrives", || origin.requests() == 1).await;
    former.signal("TERM");
    let next = Process::run(&config(&(listener("http", address) + &rest))).await;
    go.add_permits(2);
    assert_eq!(soon("the former's answer", asking).await.unwrap().text(), "ok");
    assert_eq!(Client::connect(Protocol::Http1, next.address()).await.get("/").await.text(), "ok");
    assert_eq!(former.ended().await.code(), Some(0));
}
