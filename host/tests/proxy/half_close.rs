//! Clients that close their side, clients that are gone, and messages that break off.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::support::{Origin, Process, Protocol, Proxy, ROUTE, Wire, eventually, filter, soon, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn case_40_a_client_that_closed_its_side_gets_its_answer() {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let origin = Origin::raw(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            wire.head().await;
            wait.notified().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            wait.notified().await;
            wire.send("world").await;
            let _ = wire.rest().await;
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(GET).await;
    wire.end().await;
    assert!(wire.is_silent().await);
    go.notify_one();
    assert!(wire.through("hello").await.is_some());
    go.notify_one();
    assert_eq!(wire.rest().await, b"world", "the whole answer, then the end");
}

#[tokio::test]
async fn case_40_an_idle_connection_that_is_half_closed_is_closed() {
    let (origin, _received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for requests in 0..2 {
        let mut wire = Wire::connect(proxy.address()).await;
        for _ in 0..requests {
            wire.send(GET).await;
            assert_eq!(wire.message().await.unwrap().status(), 200);
        }
        wire.end().await;
        let closed = tokio::time::timeout(Duration::from_secs(3), wire.rest());
        assert_eq!(closed.await.expect("closed at once"), b"");
    }
}

/// Descriptors that a process has open, without those of its listeners and event queues changing.
fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

#[tokio::test]
async fn case_40_nothing_is_left_of_clients_that_are_gone() {
    let silent = Origin::raw(|mut wire, _| async move {
        let _ = wire.rest().await;
    })
    .await;
    let config = |action: &str| {
        format!(
            "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             {ROUTE}filters = [\"f\"]\n{}{}",
            filter("f", action),
            upstream("origin", Protocol::Http1, &[silent.address])
        )
    };
    for (what, action) in [("upstream", "{ pass = \"f\" }"), ("filter", "{ sleep = 3600000 }")] {
        let process = Process::run(&config(action)).await;
        let before = descriptors(process.id());
        for reset in [true, false] {
            let mut wires = Vec::new();
            for _ in 0..10 {
                let mut wire = Wire::connect(process.address()).await;
                wire.send(GET).await;
                wires.push(wire);
            }
            eventually("the connections", || descriptors(process.id()) >= before + 10).await;
            if what == "upstream" {
                eventually("the requests", || silent.open() >= 10).await;
            }
            wires.into_iter().for_each(|wire| if reset { wire.reset() } else { drop(wire) });
            eventually("every descriptor is closed", || descriptors(process.id()) <= before).await;
            eventually("every upstream request is given up", || silent.open() == 0).await;
        }
    }
}

#[tokio::test]
async fn case_39_a_response_that_breaks_off_never_looks_whole() {
    for (answer, reset) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", false),
    ] {
        let go = Arc::new(Notify::new());
        let wait = go.clone();
        let origin = Origin::raw(move |mut wire, _| {
            let wait = wait.clone();
            async move {
                wire.head().await;
                wire.send(answer).await;
                wait.notified().await;
                if reset {
                    wire.reset();
                }
            }
        })
        .await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(GET).await;
        assert!(wire.through("hello").await.is_some());
        go.notify_one();
        let rest = wire.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{answer:?}: {rest:?}");
        assert!(rest.len() <= 2, "{answer:?}: {rest:?}");
        soon("the connection's end", async { while wire.try_send("x").await {} }).await;
    }
}
