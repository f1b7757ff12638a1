//! Heads that never become a request: they are refused with the same header, body and count as everything else.

use http::Request;

use crate::support::{Client, Message, Origin, Protocol, Proxy, ROUTE, Wire, empty, get, soon, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn limited(origin: &Origin) -> Proxy {
    Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         limits = {{ max_header_bytes = \"16KiB\", max_headers = 20 }}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

/// Requests without a route that got this status, of all proxies of this process.
async fn counted(proxy: &Proxy, status: u16) -> usize {
    let metrics = Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/metrics").await;
    let line = format!("meshup_requests_total{{route=\"\",status=\"{status}\"}} ");
    metrics.text().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
}

/// Waits until so many more are counted.
async fn counts(proxy: &Proxy, status: u16, before: usize, more: usize) {
    soon("the count", async { while counted(proxy, status).await < before + more {} }).await;
}

fn assert_refusal(answer: &Message, status: u16, name: &str) {
    assert_eq!((answer.status(), answer.field("x-meshup-error")), (status, Some(name)), "{answer:?}");
    assert!(answer.text().starts_with(&format!("{{\"error\":\"{name}\",")), "{answer:?}");
    assert_eq!((answer.field("connection"), answer.field("content-type")), (Some("close"), Some("application/json")));
    assert!(answer.field("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_like_any_other_request() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = limited(&origin);
    let long = |bytes| "x".repeat(bytes);
    let cases = [
        ("rubbish\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n".into(), 400, "bad-request"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), 400, "bad-request"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".into(), 400, "bad-request"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(17 << 10)), 431, "headers-too-large"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(20)), 431, "headers-too-large"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(15 << 10)), 200, ""),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(17 << 10)), 414, "uri-too-long"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(1 << 20)), 414, "uri-too-long"),
    ];
    let mut before = Vec::new();
    for status in [400, 414, 431] {
        before.push(counted(&proxy, status).await);
    }
    for (head, status, name) in &cases {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.try_send(head).await;
        let answer = wire.message().await.unwrap_or_else(|| panic!("no answer to {:.60}", head));
        if *status == 200 {
            assert_eq!((answer.status(), received.recv().await.is_some()), (200, true));
        } else {
            assert_refusal(&answer, *status, name);
            assert_eq!(wire.rest().await, b"");
        }
    }
    for ((status, more), before) in [(400, 4), (414, 2), (431, 2)].into_iter().zip(before) {
        counts(&proxy, status, before, more).await;
    }
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn a_head_behind_a_good_request_is_refused_after_its_response() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = limited(&origin);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nrubbish\r\n\r\n").await;
    assert_eq!(wire.message().await.unwrap().text(), "ok");
    assert!(received.recv().await.is_some());
    assert_refusal(&wire.message().await.unwrap(), 400, "bad-request");
}

#[tokio::test]
async fn a_relayed_response_of_the_same_look_stays_as_it_is() {
    let (origin, mut received) = Origin::canned("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = limited(&origin);
    for close in ["", "Connection: close\r\n"] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n")).await;
        let answer = wire.message().await.unwrap();
        assert_eq!((answer.status(), answer.field("x-meshup-error"), answer.text()), (400, None, ""));
        assert!(received.recv().await.is_some());
        if close.is_empty() {
            wire.send("rubbish\r\n\r\n").await;
            assert_refusal(&wire.message().await.unwrap(), 400, "bad-request");
        }
    }
}

#[tokio::test]
async fn http2_heads_are_held_to_the_same_limits() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = limited(&origin);
    let before = counted(&proxy, 431).await;
    let client = Client::to(&proxy, Protocol::Http2).await;
    let with = |name: &'static str, bytes: usize, times: usize| {
        let mut request = get("/");
        for _ in 0..times {
            request.headers_mut().append(name, "x".repeat(bytes).parse().unwrap());
        }
        request
    };
    let to = |path: usize| Request::get(format!("http://a/{}", "x".repeat(path))).body(empty()).unwrap();
    for (request, status, name) in [
        (with("x", 15 << 10, 1), 200, ""),
        (with("x", 17 << 10, 1), 431, "headers-too-large"),
        (with("x", 1, 15), 200, ""),
        (with("x", 1, 21), 431, "headers-too-large"),
        (to(15 << 10), 200, ""),
        (to(17 << 10), 414, "uri-too-long"),
    ] {
        let answer = client.exchange(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-meshup-error")), (status, name));
        if status == 200 {
            assert!(received.recv().await.is_some());
        }
    }
    assert!(received.try_recv().is_err());
    counts(&proxy, 431, before, 2).await;
}
