//! What a client may take of the proxy: for each limit, who keeps it is served and who breaks it is not.

use std::{net::SocketAddr, time::Duration};

use http::Response;
use http_body_util::BodyExt;

use crate::support::{
    Client, Feed, Origin, Protocol, Proxy, ROUTE, Wire, channel, empty, eventually, full, get, post, soon, upstream,
};

/// A proxy whose only listener has `limits`.
pub(crate) fn limited(limits: &str, origin: SocketAddr) -> Proxy {
    Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\nlimits = {{ {limits} }}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin])
    ))
}

/// Waits until the host counted that many refusals for `reason`.
pub(crate) async fn refused(proxy: &Proxy, reason: &str, count: usize) {
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    let line = format!("meshup_refusals_total{{reason=\"{reason}\"}} {count}\n");
    soon(&line, async { while !admin.get("/metrics").await.text().contains(&line) {} }).await;
}

/// An origin that reads the whole request before it answers with the body's length.
pub(crate) async fn reading_origin() -> Origin {
    Origin::http(Protocol::Http1, |request| async move {
        let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
        Response::new(full(format!("{body:?}")))
    })
    .await
}

/// Sends a part each time that the proxy had time to become impatient, but has no reason to.
async fn drip(feed: Feed, parts: usize, pause: Duration) {
    let mut ticks = tokio::time::interval(pause);
    for _ in 0..parts {
        ticks.tick().await;
        if !feed.send("x").await {
            return;
        }
    }
}

#[tokio::test]
async fn a_body_that_keeps_coming_is_taken() {
    let origin = reading_origin().await;
    let proxy = limited("body_timeout = \"2s\"", origin.address);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let (feed, body) = channel();
        let dripping = tokio::spawn(drip(feed, 30, Duration::from_millis(100)));
        assert_eq!(client.exchange(post("/", body)).await.text(), "Ok(30)");
        dripping.await.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_stops_is_answered_with_408() {
    let origin = reading_origin().await;
    let proxy = limited("body_timeout = \"150ms\"", origin.address);
    for (protocol, count) in [(Protocol::Http1, 1), (Protocol::Http2, 2)] {
        let client = Client::to(&proxy, protocol).await;
        let (feed, body) = channel();
        assert!(feed.send("beginning").await);
        let answer = client.exchange(post("/", body)).await;
        assert_eq!(answer.outcome(), (408, "body-timeout"), "{protocol:?}");
        assert_eq!(answer.header("connection"), if protocol == Protocol::Http1 { "close" } else { "" });
        refused(&proxy, "body-timeout", count).await;
    }
}

#[tokio::test]
async fn a_body_that_drips_for_too_long_is_answered_with_408() {
    let origin = reading_origin().await;
    let proxy = limited("request_timeout = \"400ms\"", origin.address);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let (feed, body) = channel();
        let dripping = tokio::spawn(drip(feed, 1000, Duration::from_millis(20)));
        assert_eq!(client.exchange(post("/", body)).await.outcome(), (408, "body-timeout"), "{protocol:?}");
        soon("nobody reads on", dripping).await.unwrap();
    }
}

#[tokio::test]
async fn a_body_may_be_silent_once_the_response_began() {
    let origin = Origin::http(Protocol::Http1, |request| async move {
        let (feed, body) = channel();
        tokio::spawn(async move {
            feed.send("begun").await;
            let sent = request.into_body().collect().await.map(|body| body.to_bytes().len());
            feed.send(format!("{sent:?}")).await;
        });
        Response::new(body)
    })
    .await;
    let proxy = limited("body_timeout = \"100ms\", request_timeout = \"200ms\"", origin.address);
    let client = Client::to(&proxy, Protocol::Http2).await;
    let (feed, body) = channel();
    let response = client.send(post("/", body)).await;
    let mut silence = tokio::time::interval(Duration::from_millis(300));
    silence.tick().await;
    silence.tick().await;
    assert!(feed.send("late").await);
    drop(feed);
    let body = soon("the response", response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "begunOk(4)");
}

/// A response larger than every buffer on its way.
const LARGE: usize = 32 << 20;

async fn large_origin() -> Origin {
    Origin::http(Protocol::Http1, |_| async { Response::new(full(vec![b'x'; LARGE])) }).await
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let origin = large_origin().await;
    let proxy = limited("write_timeout = \"150ms\"", origin.address);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    refused(&proxy, "write-timeout", 1).await;
    let head = wire.head().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(wire.rest().await.len() < LARGE);
    eventually("the upstream's connection ends", || origin.open() == 0).await;
}

#[tokio::test]
async fn a_client_that_reads_in_time_gets_everything() {
    let origin = large_origin().await;
    let proxy = limited("write_timeout = \"2s\"", origin.address);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let mut body = client.send(get("/")).await.into_body();
        let (mut read, mut ticks) = (0, tokio::time::interval(Duration::from_millis(300)));
        while let Some(frame) = soon("a frame", body.frame()).await {
            let before = read;
            read += frame.unwrap().into_data().unwrap().len();
            if read >> 22 > before >> 22 {
                ticks.tick().await;
            }
        }
        assert_eq!(read, LARGE, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let origin = Origin::http(Protocol::Http1, |request| async move {
        Response::new(if request.uri().path() == "/large" { full(vec![b'x'; LARGE]) } else { full("small") })
    })
    .await;
    let proxy = limited("write_timeout = \"150ms\"", origin.address);
    let client = Client::to(&proxy, Protocol::Http2).await;
    let response = client.send(get("/large")).await;
    refused(&proxy, "write-timeout", 1).await;
    assert_eq!(client.get("/small").await.text(), "small");
    assert!(soon("the reset", response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn a_response_that_waits_for_its_upstream_is_not_a_client_that_stalls() {
    let (sender, feeds) = tokio::sync::mpsc::unbounded_channel();
    let feeds = std::sync::Arc::new(tokio::sync::Mutex::new(feeds));
    let origin = Origin::http(Protocol::Http1, move |_| {
        let (feed, body) = channel();
        sender.send(feed).unwrap();
        async move { Response::new(body) }
    })
    .await;
    let proxy = limited("write_timeout = \"100ms\", header_timeout = \"100ms\"", origin.address);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let asking = tokio::spawn(async move { client.get("/").await });
        let feed: Feed = soon("the request", feeds.lock().await.recv()).await.unwrap();
        assert!(feed.send("a").await);
        let mut silence = tokio::time::interval(Duration::from_millis(400));
        silence.tick().await;
        silence.tick().await;
        assert!(feed.send("b").await);
        drop(feed);
        assert_eq!(soon("the answer", asking).await.unwrap().text(), "ab", "{protocol:?}");
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_wait_or_are_refused() {
    let origin = Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await;
    let proxy = limited("max_streams = 2", origin.address);
    let client = Client::to(&proxy, Protocol::Http2).await;
    assert_eq!(client.get("/").await.text(), "ok", "with it come the proxy's settings");
    let asking = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.get("/").await.text().to_owned() })
    });
    for answer in asking.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), "ok");
    }
    let io = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let (mut sender, mut connection) = h2::client::handshake(io).await.unwrap();
    let request = || http::Request::get("http://a/").body(()).unwrap();
    let first = sender.send_request(request(), true).unwrap().0;
    soon("the settings", async {
        tokio::select! { _ = &mut connection => panic!("it ended"), first = first => first.unwrap() };
    })
    .await;
    assert_eq!(connection.max_concurrent_send_streams(), 2);
    drop(empty());
}
