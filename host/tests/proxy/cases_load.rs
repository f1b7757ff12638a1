//! Cases 24, 43, 44, 50 and 52: clients that take more than their share, and a system that has nothing left to give.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Response;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Semaphore};

use crate::{
    limits::{limited, reading_origin, refused},
    support::{Client, Origin, Process, Protocol, Proxy, ROUTE, Wire, full, get, soon, upstream},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Asks again and again until `hostile` is over; every answer must come in time.
async fn unharmed_while<T>(proxy: &Proxy, hostile: impl Future<Output = T>) -> T {
    let good = Client::to(proxy, Protocol::Http1).await;
    let mut hostile = std::pin::pin!(hostile);
    loop {
        let asked = Instant::now();
        tokio::select! {
            done = &mut hostile => return done,
            answer = good.get("/") => {
                assert_eq!(answer.status, 200);
                assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
            }
        }
    }
}

async fn closed(mut wires: Vec<Wire>) {
    for wire in &mut wires {
        soon("the end of a connection", wire.rest()).await;
    }
}

#[tokio::test]
async fn case_24_heads_that_are_too_large_are_refused() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let long = |bytes| "x".repeat(bytes);
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(1 << 20)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(64 << 10)), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(99)), 200),
    ] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.try_send(&head).await;
        assert_eq!(wire.message().await.unwrap().status(), status, "{head:.40}");
        if status == 200 {
            assert!(received.recv().await.is_some());
        } else {
            assert_eq!(wire.rest().await, b"");
        }
    }
    let mut wire = Wire::connect(proxy.address()).await;
    wire.try_send(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", long(1 << 20))).await;
    let status = wire.message().await.unwrap().status();
    assert!(matches!(status, 400 | 414 | 431), "{status}");
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn case_43_a_slow_head_is_cut_off_and_others_are_served() {
    let origin = reading_origin().await;
    let proxy = limited("header_timeout = \"300ms\"", origin.address);
    let mut slow = Vec::new();
    for beginning in ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y"].repeat(25) {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(beginning).await;
        slow.push(wire);
    }
    unharmed_while(&proxy, closed(slow)).await;
    refused(&proxy, "header-timeout", 100).await;
}

#[tokio::test]
async fn case_43_a_head_that_drips_is_cut_off() {
    let origin = reading_origin().await;
    let proxy = limited("header_timeout = \"300ms\"", origin.address);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let dripping = async {
        while stream.write_all(b"X: y\r\n").await.is_ok() {
            ticks.tick().await;
        }
    };
    soon("the end of the connection", dripping).await;
    refused(&proxy, "header-timeout", 1).await;
}

#[tokio::test]
async fn case_43_slow_bodies_are_cut_off_and_others_are_served() {
    let origin = reading_origin().await;
    let proxy = limited("body_timeout = \"300ms\"", origin.address);
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx").await;
        slow.push(wire);
    }
    let answered = async {
        for wire in &mut slow {
            assert_eq!(wire.message().await.unwrap().status(), 408);
            assert_eq!(wire.rest().await, b"");
        }
    };
    unharmed_while(&proxy, answered).await;
}

#[tokio::test]
async fn case_43_slow_readers_are_cut_off_and_others_are_served() {
    let origin = Origin::http(Protocol::Http1, |request| async move {
        Response::new(if request.uri().path() == "/large" { full(vec![b'x'; 32 << 20]) } else { full("ok") })
    })
    .await;
    let proxy = limited("write_timeout = \"300ms\"", origin.address);
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
        slow.push(wire);
    }
    unharmed_while(&proxy, refused(&proxy, "write-timeout", 5)).await;
    closed(slow).await;
}

#[tokio::test]
async fn case_43_idle_connections_cost_no_time() {
    let origin = reading_origin().await;
    let process = Process::run(&process_config(&origin)).await;
    let mut idle = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http2].repeat(250) {
        let client = Client::connect(protocol, process.address()).await;
        assert_eq!(client.get("/").await.status, 200);
        idle.push(client);
    }
    let (before, mut ticks) = (cpu_ticks(process.id()), tokio::time::interval(Duration::from_millis(500)));
    ticks.tick().await;
    ticks.tick().await;
    let busy = cpu_ticks(process.id()) - before;
    assert!(busy <= 10, "{busy} of 50 ticks");
    assert_eq!(Client::connect(Protocol::Http1, process.address()).await.get("/").await.status, 200);
    for client in &idle {
        assert_eq!(client.get("/").await.status, 200, "an idle one can still ask");
    }
}

#[tokio::test]
async fn case_44_connections_beyond_the_limit_wait_for_one_to_end() {
    let origin = reading_origin().await;
    let proxy = limited("max_connections = 3", origin.address);
    let mut within = Vec::new();
    for _ in 0..3 {
        let client = Client::to(&proxy, Protocol::Http1).await;
        assert_eq!(client.get("/").await.status, 200);
        within.push(client);
    }
    refused(&proxy, "max-connections", 1).await;
    let beyond = Client::to(&proxy, Protocol::Http1).await;
    let mut asking = tokio::spawn(async move { beyond.get("/").await.status });
    for client in &within {
        assert_eq!(client.get("/").await.status, 200);
    }
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    assert_eq!(admin.get("/healthz").await.status, 200);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut asking).await.is_err());
    within.pop();
    assert_eq!(soon("its turn", asking).await.unwrap(), 200);
}

fn process_config(origin: &Origin) -> String {
    format!(
        "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         {ROUTE}{}connect_timeout = \"20s\"\n",
        upstream("origin", Protocol::Http1, &[origin.address])
    )
}

/// CPU time of a process so far, in clock ticks.
pub(crate) fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The number that its next descriptor gets: with that limit it gets none.
fn next_descriptor(id: u32) -> usize {
    (0..).find(|number| !std::path::Path::new(&format!("/proc/{id}/fd/{number}")).is_symlink()).unwrap()
}

fn limit_descriptors(id: u32, limit: usize) {
    let limited = Command::new("prlimit").args([format!("--pid={id}"), format!("--nofile={limit}:")]).status();
    assert!(limited.unwrap().success());
}

#[tokio::test]
async fn case_44_no_descriptors_left_pauses_the_accept_and_recovers() {
    let origin = reading_origin().await;
    let process = Process::run(&process_config(&origin)).await;
    let admin = Client::connect(Protocol::Http1, process.admin()).await;
    let established = Client::connect(Protocol::Http1, process.address()).await;
    assert_eq!(established.get("/").await.status, 200);
    limit_descriptors(process.id(), next_descriptor(process.id()));
    let beyond = Client::connect(Protocol::Http1, process.address()).await;
    let asking = tokio::spawn(async move { beyond.get("/").await.status });
    let exhausted = async {
        let line = "meshup_accept_errors_total 2";
        while !admin.get("/metrics").await.text().contains(line) {}
    };
    soon("two accepts that failed", exhausted).await;
    let (before, since) = (cpu_ticks(process.id()), Instant::now());
    assert_eq!(established.get("/").await.status, 200);
    assert_eq!(admin.get("/healthz").await.status, 200);
    tokio::time::interval_at(tokio::time::Instant::now() + Duration::from_millis(500), Duration::from_secs(9))
        .tick()
        .await;
    let busy = Duration::from_millis(10 * (cpu_ticks(process.id()) - before));
    assert!(busy < since.elapsed() / 2, "{busy:?} of {:?}", since.elapsed());
    limit_descriptors(process.id(), 1000);
    assert_eq!(soon("its turn", asking).await.unwrap(), 200);
}

#[tokio::test]
async fn case_50_a_full_disk_under_the_log_stops_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("meshup.toml");
    let text =
        process_config(&reading_origin().await).replace("[[routes]]", "[[routes]]\nmatch = { path = \"/only\" }");
    // The address of the listener cannot be read from a log that is lost.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = format!("name = \"http\"\nlisten = \"{address}\"");
    std::fs::write(&config, text.replace("name = \"http\"\nlisten = \"127.0.0.1:0\"", &listener)).unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_meshup"))
        .args(["run", "--config"])
        .arg(&config)
        .env("RUST_LOG", "debug")
        .stderr(full)
        .spawn()
        .unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(20), async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let client = Client::connect(Protocol::Http1, address).await;
        for _ in 0..200 {
            assert_eq!(client.get("/").await.status, 404);
        }
    })
    .await;
    process.kill().unwrap();
    process.wait().unwrap();
    answered.unwrap();
}

#[tokio::test]
async fn case_52_a_thousand_requests_in_flight_are_finished_after_sigterm() {
    let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let (opened, counted) = (gate.clone(), arrived.clone());
    let origin = Origin::http(Protocol::Http1, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let opened = opened.clone();
        async move {
            opened.acquire().await.unwrap().forget();
            Response::new(full("ok"))
        }
    })
    .await;
    let process = Process::run(&process_config(&origin)).await;
    let mut asking = Vec::new();
    for _ in 0..10 {
        let client = Client::connect(Protocol::Http2, process.address()).await;
        for _ in 0..50 {
            let client = client.clone();
            asking.push(tokio::spawn(async move { client.exchange(get("/")).await.status.as_u16() }));
        }
    }
    for _ in 0..500 {
        let client = Client::connect(Protocol::Http1, process.address()).await;
        asking.push(tokio::spawn(async move { client.exchange(get("/")).await.status.as_u16() }));
    }
    let _idle = [
        Client::connect(Protocol::Http1, process.address()).await,
        Client::connect(Protocol::Http2, process.address()).await,
    ];
    crate::support::eventually("all are under way", || arrived.load(Ordering::SeqCst) == 1000).await;
    process.signal("TERM");
    soon("the listener closes", async { while TcpStream::connect(process.address()).await.is_ok() {} }).await;
    gate.add_permits(1000);
    for answer in asking {
        assert_eq!(soon("an answer", answer).await.unwrap(), 200);
    }
    assert_eq!(process.ended().await.code(), Some(0));
}
