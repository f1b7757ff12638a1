//! Connections that are ended for what their client does not do, each told apart in the metrics, and those that look
//! alike and are not ended.

use std::{sync::Arc, time::Duration};

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    limits::{limited, reading_origin, refused},
    support::{
        Client, Origin, Protocol, Proxy, ROUTE, Wire, eventually,
        frames::{END_STREAM, ENHANCE_YOUR_CALM, Field, Frames, Outcome, WINDOW_UPDATE, frame, get_with, headers},
        full, soon,
        tls::{Authority, client_config, handshake},
        upstream,
    },
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Lets time pass in which nothing happens, which is what these tests are about.
async fn silence(length: Duration) {
    let mut ticks = tokio::time::interval(length);
    ticks.tick().await;
    ticks.tick().await;
}

/// A proxy whose only listener has these keys.
fn listening(keys: &str, origin: &Origin) -> Proxy {
    Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{keys}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

/// TLS for `proxy.test` from files in a folder.
fn tls(authority: &Authority, folder: &std::path::Path) -> String {
    authority.issue(&["proxy.test"]).write(folder, "server");
    let path = |name: &str| folder.join(name).display().to_string();
    format!("tls = {{ certificate = \"{}\", private_key = \"{}\" }}", path("server.pem"), path("server.key"))
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_counted() {
    let origin = reading_origin().await;
    let proxy = limited("idle_timeout = \"150ms\"", origin.address);
    for (protocol, count) in [(Protocol::Http1, 1), (Protocol::Http2, 2)] {
        let client = Client::to(&proxy, protocol).await;
        assert_eq!(client.get("/").await.status, 200);
        refused(&proxy, "idle-timeout", count).await;
    }
}

#[tokio::test]
async fn a_tls_handshake_that_stalls_is_counted_as_such() {
    let (origin, authority, folder) = (reading_origin().await, Authority::new(), tempfile::tempdir().unwrap());
    let keys = format!("limits = {{ header_timeout = \"150ms\" }}\n{}", tls(&authority, folder.path()));
    let proxy = listening(&keys, &origin);
    let mut wire = Wire::connect(proxy.address()).await;
    assert_eq!(wire.rest().await, b"");
    refused(&proxy, "handshake-timeout", 1).await;
    let client = Arc::new(client_config(&authority, None));
    let mut shaken = handshake(&client, "proxy.test", proxy.address()).await.unwrap();
    assert_eq!(soon("its end", shaken.read(&mut [0])).await.unwrap_or(0), 0, "it said nothing behind the handshake");
    refused(&proxy, "header-timeout", 1).await;
}

#[tokio::test]
async fn a_tls_client_that_stops_reading_is_cut_off() {
    let origin = Origin::http(Protocol::Http1, |_| async { Response::new(full(vec![b'x'; 32 << 20])) }).await;
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let keys = format!("limits = {{ write_timeout = \"200ms\" }}\n{}", tls(&authority, folder.path()));
    let proxy = listening(&keys, &origin);
    let client = Arc::new(client_config(&authority, None));
    let mut stream = handshake(&client, "proxy.test", proxy.address()).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    refused(&proxy, "write-timeout", 1).await;
    eventually("the upstream's connection ends", || origin.open() == 0).await;
}

#[tokio::test]
async fn a_proxy_header_that_does_not_come_is_a_head_that_does_not_come() {
    let origin = reading_origin().await;
    let keys = "proxy_protocol = true\nlimits = { header_timeout = \"150ms\", max_connections = 1 }";
    let proxy = listening(keys, &origin);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("PROXY TCP4 ").await;
    assert_eq!(wire.rest().await, b"");
    refused(&proxy, "header-timeout", 1).await;
    let mut next = Wire::connect(proxy.address()).await;
    next.send(format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n{GET}")).await;
    assert_eq!(next.message().await.unwrap().status(), 200, "the first one's place is free");
}

/// Has the proxy reset these streams of a connection: each grows its window beyond what there is.
async fn offend(frames: &mut Frames, streams: std::ops::Range<u32>) {
    for stream in streams.map(|number| 2 * number + 1) {
        frames.send(headers(stream, 0, &get_with(&[]))).await;
        frames.send(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])).await;
    }
}

const NEXT: [Field<'_>; 4] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/next")];

#[tokio::test]
async fn resets_up_to_their_limit_are_suffered_and_more_end_the_connection() {
    let origin = Origin::http(Protocol::Http1, |request| async move {
        if request.uri().path() == "/" {
            std::future::pending::<()>().await;
        }
        Response::new(full("ok"))
    })
    .await;
    let proxy = limited("max_resets = 3", origin.address);
    let mut frames = Frames::to(&proxy).await;
    offend(&mut frames, 0..3).await;
    frames.send(headers(7, END_STREAM, &NEXT)).await;
    assert_eq!(frames.outcome(7).await, Outcome::Status(200));
    offend(&mut frames, 4..5).await;
    assert_eq!(frames.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM));
    refused(&proxy, "http2-flood", 1).await;
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_tunnel_has_none_of_the_limits_of_requests() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send(SWITCH).await;
        while let Some(bytes) = wire.some().await {
            wire.send(bytes).await;
        }
    })
    .await;
    let limits = "header_timeout = \"100ms\", idle_timeout = \"100ms\", body_timeout = \"100ms\", \
                  request_timeout = \"100ms\", write_timeout = \"100ms\"";
    let proxy = limited(limits, origin.address);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    for _ in 0..2 {
        silence(Duration::from_millis(500)).await;
        wire.send("\x01GET / HT").await;
        assert_eq!(wire.take(9).await, b"\x01GET / HT");
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_does_not_stall() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await.unwrap();
        silence(Duration::from_millis(500)).await;
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(wire.take(5).await, b"hello");
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = limited("body_timeout = \"200ms\", header_timeout = \"200ms\"", origin.address);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("hello").await;
    assert_eq!(wire.message().await.unwrap().text(), "ok");
}
