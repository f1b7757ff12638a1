//! The limits of a listener: what keeps to them passes, what breaks them is refused.

use crate::support::{Origin, Protocol, Proxy, ROUTE, Wire, eventually, upstream};

use std::sync::{Arc, Mutex};

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
    let proxy = limited(&origin, "header_timeout = \"50ms\"");
    let mut wire = Wire::connect(proxy.address()).await;
    assert_eq!(wire.rest().await, b"", "one that never asks ends too");
}
