//! Upgrades: nothing is a tunnel before the upstream said so, and then every byte comes through.

use http::Request;

use crate::support::{
    Client, Message, Origin, Process, Protocol, Proxy, ROUTE, Wire, empty, eventually, filter, soon, upstream,
};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain";

/// An origin that switches, sends `greeting` at once and then echoes until the client ended.
async fn echo(greeting: &'static str) -> Origin {
    Origin::raw(move |mut wire, _| async move {
        let asked = wire.head().await.unwrap();
        assert_eq!((asked.field("upgrade"), asked.field("connection")), (Some("websocket"), Some("upgrade")));
        wire.send(format!("{SWITCH}{greeting}")).await;
        while let Some(bytes) = wire.some().await {
            wire.send(bytes).await;
        }
        wire.send("the end").await;
    })
    .await
}

async fn switched(proxy: &Proxy) -> (Wire, Message) {
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK).await;
    let head = wire.head().await.unwrap();
    assert_eq!(head.status(), 101, "{head:?}");
    (wire, head)
}

/// Bytes that no parser of HTTP would leave alone.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test]
async fn case_35_a_tunnel_is_byte_exact_both_ways_and_honours_half_close() {
    let origin = echo("\0hello").await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let (mut wire, head) = switched(&proxy).await;
    assert_eq!((head.field("upgrade"), head.field("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((head.field("content-length"), head.field("transfer-encoding")), (None, None));
    assert_eq!(wire.take(6).await, b"\0hello");
    let sent = noise(300_000);
    for piece in sent.chunks(50_000) {
        wire.send(piece).await;
        assert_eq!(wire.take(piece.len()).await, piece);
    }
    wire.end().await;
    assert_eq!(wire.rest().await, b"the end");
}

#[tokio::test]
async fn case_33_bytes_behind_the_request_wait_for_the_101() {
    let (let_go, gone) = tokio::sync::oneshot::channel();
    let gone = std::sync::Mutex::new(Some(gone));
    let (received, mut first) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire, _| {
        let (gone, received) = (gone.lock().unwrap().take().unwrap(), received.clone());
        async move {
            wire.head().await.unwrap();
            gone.await.unwrap();
            assert!(wire.is_silent().await, "bytes came before the 101");
            wire.send(SWITCH).await;
            received.send(wire.some().await.unwrap()).unwrap();
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(format!("{ASK}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    eventually("the request", || origin.connections() == 1).await;
    let_go.send(()).unwrap();
    assert_eq!(wire.head().await.unwrap().status(), 101);
    let early = soon("the early bytes", first.recv()).await.unwrap();
    assert!(early.starts_with(b"GET /smuggled"), "as they were: {early:?}");
}

#[tokio::test]
async fn case_33_bytes_behind_a_refused_upgrade_are_no_tunnel() {
    let (origin, mut received) = Origin::canned(PLAIN).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(format!("{ASK}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert_eq!(wire.message().await.unwrap().text(), "plain");
    assert_eq!(wire.rest().await, b"", "and no request either");
    assert_eq!(received.recv().await.unwrap().field("upgrade"), Some("websocket"));
    assert!(received.try_recv().is_err(), "only the request reached the origin");
}

#[tokio::test]
async fn case_34_a_plain_answer_to_an_upgrade_is_the_last_on_its_connection() {
    for (answer, status) in [(PLAIN, 200), ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", 426)] {
        let (origin, _received) = Origin::canned(answer).await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(ASK).await;
        let message = wire.message().await.unwrap();
        assert_eq!((message.status(), message.field("connection")), (status, Some("close")));
        assert_eq!(wire.rest().await, b"");
    }
}

#[tokio::test]
async fn case_34_a_101_that_nobody_asked_for_is_a_bad_response() {
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
    let none = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    // Without its option in `Connection` the field means nothing.
    let unmeant = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    for (request, answer) in [(plain, SWITCH), (unmeant, SWITCH), (ASK, wrong), (ASK, none)] {
        let (origin, _received) = Origin::canned(answer).await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(request).await;
        let message = wire.message().await.unwrap();
        assert_eq!((message.status(), message.field("x-meshup-error")), (502, Some("bad-response")), "{request}");
    }
}

#[tokio::test]
async fn case_35_what_the_route_does_not_allow_and_h2c_are_plain_requests() {
    let h2c = ASK.replace("Upgrade: websocket", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__");
    let other = ASK.replace("Upgrade: websocket", "Upgrade: other/1");
    let old = ASK.replace("HTTP/1.1", "HTTP/1.0");
    let body = ASK
        .replace("Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 2")
        .replace("13\r\n\r\n", "13\r\n\r\nab");
    for request in [h2c, other, old, body] {
        let (origin, mut received) = Origin::canned(PLAIN).await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(&request).await;
        assert_eq!(wire.message().await.unwrap().text(), "plain", "{request}");
        let seen = received.recv().await.unwrap();
        assert_eq!((seen.field("upgrade"), seen.field("http2-settings"), seen.field("connection")), (None, None, None));
    }
    let (origin, mut received) = Origin::canned(PLAIN).await;
    let config = format!("{ROUTE}upgrades = []\n{}", upstream("origin", Protocol::Http1, &[origin.address]));
    let proxy = Proxy::start(&config);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK).await;
    assert_eq!(wire.message().await.unwrap().text(), "plain");
    assert_eq!(received.recv().await.unwrap().field("upgrade"), None);
}

#[tokio::test]
async fn another_protocol_is_switched_to_where_the_route_says_so() {
    let (origin, _received) =
        Origin::canned("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: Other/1\r\n\r\n").await;
    let config = format!("{ROUTE}upgrades = [\"Other/1\"]\n{}", upstream("origin", Protocol::Http1, &[origin.address]));
    let proxy = Proxy::start(&config);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK.replace("Upgrade: websocket", "Upgrade: websocket, other/1")).await;
    assert_eq!(wire.head().await.unwrap().field("upgrade"), Some("other/1"));
}

#[tokio::test]
async fn case_35_connect_is_refused_and_what_follows_is_not_read() {
    let (origin, mut received) = Origin::canned(PLAIN).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = wire.message().await.unwrap();
    assert_eq!((answer.status(), answer.field("x-meshup-error")), (405, Some("bad-request")));
    assert!(answer.field("allow").is_some());
    assert_eq!(wire.rest().await, b"");
    let request = Request::builder().method("CONNECT").uri("a:80").body(empty()).unwrap();
    assert!(
        Client::to(&proxy, Protocol::Http2).await.try_send(request).await.is_ok_and(|answer| answer.status() == 405)
    );
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn an_upstream_of_http2_is_not_asked_to_switch() {
    let origin = Origin::http(Protocol::Http2, |request: Request<_>| {
        assert!(!request.headers().contains_key("upgrade"));
        std::future::ready(http::Response::new(empty()))
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http2);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK).await;
    assert_eq!(wire.message().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_tunnel_that_is_idle_too_long_ends_and_one_in_use_does_not() {
    let origin = echo("").await;
    let config =
        format!("{ROUTE}upgrade_idle_timeout = \"300ms\"\n{}", upstream("origin", Protocol::Http1, &[origin.address]));
    let proxy = Proxy::start(&config);
    let (mut wire, _) = switched(&proxy).await;
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(900) {
        wire.send("x").await;
        assert_eq!(wire.take(1).await, b"x");
    }
    assert_eq!(wire.rest().await, b"");
    eventually("the upstream's connection ends", || origin.open() == 0).await;
}

#[tokio::test]
async fn a_tunnel_counts_against_the_connections_of_its_upstream() {
    let origin = echo("").await;
    let keys = "max_connections = 1\nconnect_timeout = \"100ms\"\n";
    let config = format!("{ROUTE}{}{keys}", upstream("origin", Protocol::Http1, &[origin.address]));
    let proxy = Proxy::start(&config);
    let (wire, _) = switched(&proxy).await;
    let mut second = Wire::connect(proxy.address()).await;
    second.send(ASK).await;
    let answer = second.message().await.unwrap();
    assert_eq!((answer.status(), answer.field("x-meshup-error")), (503, Some("overloaded")));
    drop(wire);
    eventually("the tunnel ends", || origin.open() == 0).await;
    switched(&proxy).await;
}

#[tokio::test]
async fn filters_see_the_switch_and_the_end_of_the_tunnel() {
    let origin = echo("").await;
    let proxy = Proxy::start(&format!(
        "{ROUTE}filters = [\"f\"]\n{}{}",
        filter("f", "{ run = \"f\" }"),
        upstream("origin", Protocol::Http1, &[origin.address])
    ));
    let (mut wire, _) = switched(&proxy).await;
    wire.send("12345").await;
    assert_eq!(wire.take(5).await, b"12345");
    wire.end().await;
    assert_eq!(wire.rest().await, b"the end");
    let client = Client::to(&proxy, Protocol::Http1).await;
    let end = soon("the end", async {
        loop {
            let told = client.get("/state/end").await.text().to_owned();
            if !told.is_empty() {
                return told;
            }
        }
    });
    assert_eq!(end.await, "101 5 12 none Complete answered");
}

#[tokio::test]
async fn case_41_a_tunnel_takes_no_more_than_its_buffers() {
    const MORE_THAN_BUFFERS: usize = 64 << 20;
    let (go, wait) = tokio::sync::oneshot::channel();
    let wait = std::sync::Mutex::new(Some(wait));
    let origin = Origin::raw(move |mut wire, _| {
        let wait = wait.lock().unwrap().take().unwrap();
        async move {
            wire.head().await;
            wire.send(SWITCH).await;
            wait.await.unwrap();
            let taken = wire.rest().await.len();
            wire.send(taken.to_string()).await;
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let (mut wire, _) = switched(&proxy).await;
    let mut sent = 0;
    while let Some(bytes) = wire.offer(&[7; 64 << 10]).await {
        sent += bytes;
        assert!(sent < MORE_THAN_BUFFERS, "everything was taken");
    }
    go.send(()).unwrap();
    wire.end().await;
    assert_eq!(wire.rest().await, sent.to_string().as_bytes());
}

#[tokio::test]
async fn case_52_a_tunnel_lasts_until_the_drain_times_out() {
    let origin = echo("").await;
    let process = Process::run(&format!(
        "workers = 1\ndrain_timeout = \"2s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\n\
         listen = \"127.0.0.1:0\"\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
    .await;
    let mut wire = Wire::connect(process.address()).await;
    wire.send(ASK).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    let told = std::time::Instant::now();
    process.signal("TERM");
    soon("new connections are refused", async {
        while Client::try_connect(Protocol::Http1, process.address()).await.is_some() {
            wire.send("x").await;
            assert_eq!(wire.take(1).await, b"x");
        }
    })
    .await;
    wire.send("still").await;
    assert_eq!(wire.take(5).await, b"still");
    assert_eq!(wire.rest().await, b"");
    assert!(told.elapsed() > std::time::Duration::from_millis(1900));
    assert_eq!(process.ended().await.code(), Some(0));
}
