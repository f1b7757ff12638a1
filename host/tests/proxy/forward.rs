//! A message goes through the proxy as it is, but for what belongs to a connection.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::support::{Client, Origin, Protocol, Proxy, Wire, full, post, with_trailers};

/// Every pair of a client's and an upstream's protocol.
fn pairs() -> impl Iterator<Item = (Protocol, Protocol)> {
    Protocol::BOTH.into_iter().flat_map(|client| Protocol::BOTH.map(|upstream| (client, upstream)))
}

/// An origin that answers with what it got: the target and `host` as headers, the request's body as body.
async fn echo(protocol: Protocol) -> Origin {
    Origin::http(protocol, |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap();
        let trailer = body.trailers().and_then(|trailers| trailers.get("x-sum")).cloned();
        let mut response = Response::new(with_trailers(body.to_bytes(), "x-sum", "7"));
        let host = head.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()).unwrap());
        let host = host.or_else(|| head.headers.get("host").cloned()).unwrap();
        let headers = response.headers_mut();
        headers.insert("trailer", HeaderValue::from_static("x-sum"));
        headers.insert("x-method", HeaderValue::from_str(head.method.as_str()).unwrap());
        headers.insert("x-host", host);
        headers.insert("x-path", HeaderValue::from_str(head.uri.path_and_query().unwrap().as_str()).unwrap());
        if let Some(trailer) = trailer {
            headers.insert("x-request-trailer", trailer);
        }
        response
    })
    .await
}

/// Bytes that differ from their neighbours.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

#[tokio::test]
async fn every_pair_of_protocols_carries_messages_with_bodies_and_trailers() {
    for (client, origin) in pairs() {
        let echo = echo(origin).await;
        let proxy = Proxy::before(&echo, origin);
        let client = Client::to(&proxy, client).await;
        for _ in 0..2 {
            let mut request = post("/a/b?c=d", with_trailers("hello", "x-sum", "5"));
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
            request.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
            let answer = client.exchange(request).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
            assert_eq!((answer.header("x-method"), answer.header("x-path")), ("POST", "/a/b?c=d"));
            assert_eq!(answer.header("x-host"), "test.example");
            assert_eq!(answer.header("x-request-trailer"), "5", "{client:?} {origin:?}");
            assert_eq!(answer.trailers.expect("trailers")["x-sum"], "7", "{client:?} {origin:?}");
        }
        assert_eq!((echo.connections(), echo.requests()), (1, 2), "kept alive: {origin:?}");
    }
}

#[tokio::test]
async fn large_bodies_arrive_byte_for_byte_both_ways() {
    for (client, origin) in pairs() {
        let echo = echo(origin).await;
        let proxy = Proxy::before(&echo, origin);
        let client = Client::to(&proxy, client).await;
        let content = pattern(3 << 20);
        let known = client.exchange(post("/", full(content.clone()))).await;
        assert!(known.body == content, "{client:?} {origin:?} with a length");
        let chunked = client.exchange(post("/", with_trailers(content.clone(), "x-sum", "1"))).await;
        assert!(chunked.body == content, "{client:?} {origin:?} without a length");
    }
}

#[tokio::test]
async fn a_get_may_have_a_body_of_unknown_length() {
    for (client, origin) in pairs() {
        let echo = echo(origin).await;
        let proxy = Proxy::before(&echo, origin);
        let mut request = post("/", with_trailers("query", "x-sum", "1"));
        *request.method_mut() = Method::GET;
        request.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        if client == Protocol::Http2 {
            request.headers_mut().remove("transfer-encoding");
        }
        let answer = Client::to(&proxy, client).await.exchange(request).await;
        assert_eq!(answer.text(), "query", "{client:?} {origin:?}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let echo = echo(Protocol::Http1).await;
    let proxy = Proxy::before(&echo, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    let request = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    wire.send([request("/1", "one"), request("/2", ""), request("/3", "three")].concat()).await;
    for (path, body) in [("/1", "one"), ("/2", ""), ("/3", "three")] {
        let answer = wire.message().await.unwrap();
        assert_eq!((answer.field("x-path"), answer.text()), (Some(path), body));
    }
}
