//! What two readers could understand differently is refused, and nothing behind it is served.

use crate::support::{Origin, Protocol, Proxy, ROUTE, Wire, eventually, upstream};

use std::sync::{Arc, Mutex};

/// A request that must never reach the origin.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// An origin that answers nothing and keeps what it got.
async fn silent() -> (Origin, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let sink = seen.clone();
    let origin = Origin::raw(move |mut wire, _| {
        let sink = sink.clone();
        async move {
            while let Some(bytes) = wire.some().await {
                sink.lock().unwrap().extend(bytes);
            }
        }
    });
    (origin.await, seen)
}

#[tokio::test]
async fn ambiguous_heads_are_refused_and_reach_nobody() {
    let (origin, _seen) = silent().await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 5, 5\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 0x5\r\n\r\nhello",
        "Content-Length: -1\r\n\r\n",
        "Content-Length : 5\r\n\r\nhello",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "X: a\nContent-Length: 5\r\n\r\nhello",
        "X: a\r\n\tb\r\n\r\n",
        "X: a\r\n Content-Length: 5\r\n\r\nhello",
        "X: a\rContent-Length: 5\r\n\r\nhello",
        "X: a\0b\r\n\r\n",
        "X y: a\r\n\r\n",
        ": a\r\n\r\n",
        "no colon\r\n\r\n",
    ] {
        for beginning in ["", "\r\n"] {
            let mut wire = Wire::connect(proxy.address()).await;
            wire.send(format!("{beginning}POST / HTTP/1.1\r\nHost: a\r\n{head}{SMUGGLED}")).await;
            let answer = wire.message().await.unwrap_or_else(|| panic!("no answer to {head:?}"));
            assert_eq!(answer.status(), 400, "{head:?}");
            assert_eq!(wire.rest().await, b"", "closed after {head:?}");
        }
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn ambiguous_request_lines_are_refused_and_reach_nobody() {
    let (origin, _seen) = silent().await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for line in ["GET / HTTP/1.1\n", "GET /\r\n", "GET / HTTP/1.2\r\n", "GET  / HTTP/1.1\r\n", "G\0T / HTTP/1.1\r\n"] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(format!("{line}Host: a\r\n\r\n{SMUGGLED}")).await;
        let answer = wire.message().await.unwrap_or_else(|| panic!("no answer to {line:?}"));
        assert_eq!(answer.status(), 400, "{line:?}");
        assert_eq!(wire.rest().await, b"", "closed after {line:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_chunked_body_that_goes_wrong_is_never_completed_upstream() {
    for chunks in [
        "5\r\nhello\r\nxyz\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "fffffffffffffffff\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\n\r\n",
    ] {
        let (origin, seen) = silent().await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(format!("{head}{chunks}{SMUGGLED}")).await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{chunks:?}: {answer}");
        let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        assert!(!seen.contains("smuggled") && !seen.ends_with("0\r\n\r\n"), "{chunks:?}: {seen}");
    }
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered() {
    let (origin, mut received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    let bad = "POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx";
    wire.send(format!("GET /good HTTP/1.1\r\nHost: a\r\n\r\n{bad}{SMUGGLED}")).await;
    assert_eq!(wire.message().await.unwrap().status(), 200);
    assert_eq!(wire.message().await.unwrap().status(), 400);
    assert_eq!(wire.rest().await, b"");
    assert!(received.recv().await.unwrap().start.starts_with("GET /good"));
    assert!(received.try_recv().is_err());
}

/// A proxy whose listener has these limits.
fn limited(origin: &Origin, limits: &str) -> Proxy {
    Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\nlimits = {{ {limits} }}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

#[tokio::test]
async fn heads_up_to_their_limits_pass_and_larger_ones_are_refused() {
    let (origin, mut received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = limited(&origin, "max_header_bytes = \"16KiB\", max_headers = 20");
    let status = async |head: String| {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n")).await;
        wire.message().await.unwrap().status()
    };
    assert_eq!(status(format!("X: {}\r\n", "x".repeat(16000))).await, 200);
    assert_eq!(status("X: y\r\n".repeat(19)).await, 200);
    assert_eq!((received.recv().await.is_some(), received.recv().await.is_some()), (true, true));
    assert_eq!(status(format!("X: {}\r\n", "x".repeat(17000))).await, 431);
    assert_eq!(status(format!("X: {}\r\n", "x".repeat(1 << 20))).await, 431);
    assert_eq!(status("X: y\r\n".repeat(20)).await, 431);
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn bodies_up_to_their_limit_pass_and_larger_ones_are_refused() {
    let (origin, mut received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = limited(&origin, "max_body_bytes = 5");
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    let announced = |body: &str| format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let streamed = |body: &str| format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n{body}0\r\n\r\n");
    for (request, status) in [
        (announced("12345"), 200),
        (announced("123456"), 413),
        (streamed("3\r\n345\r\n"), 200),
        (streamed("4\r\n3456\r\n"), 413),
    ] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(&request).await;
        let answer = wire.message().await.unwrap();
        assert_eq!(answer.status(), status, "{request}");
        if status == 200 {
            assert_eq!(received.recv().await.unwrap().body.len(), 5);
        } else {
            assert_eq!(answer.field("x-meshup-error"), Some("body-too-large"));
        }
    }
    assert!(received.try_recv().is_err(), "a body over its limit never arrives whole");
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_its_connection() {
    let (origin, _seen) = silent().await;
    let proxy = limited(&origin, "header_timeout = \"50ms\"");
    for beginning in ["GET / HTTP/1.1\r\nHost: a\r\n", "G", "PRI"] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(beginning).await;
        assert_eq!(String::from_utf8(wire.rest().await).unwrap(), "", "{beginning}");
    }
    eventually("no connection upstream", || origin.connections() == 0).await;
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_time() {
    let (origin, _received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = limited(&origin, "idle_timeout = \"50ms\"");
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.message().await.unwrap().status(), 200);
    assert_eq!(wire.rest().await, b"");
    let mut wire = Wire::connect(proxy.address()).await;
    assert_eq!(wire.rest().await, b"", "one that never asks ends too");
}
