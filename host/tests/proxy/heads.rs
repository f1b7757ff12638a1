//! What the proxy changes in heads, and what it refuses.

use http::{HeaderValue, Method, Response};

use crate::support::{Client, Message, Origin, Protocol, Proxy, ROUTE, Wire, empty, full, get, post, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What an origin gets of `request`, a whole HTTP/1 request, and what the client gets.
async fn through(proxy_keys: &str, request: &str, response: &'static str) -> (Option<Message>, Message) {
    let (origin, mut received) = Origin::canned(response).await;
    let listener = format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{proxy_keys}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    );
    let proxy = Proxy::start(&listener);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(request).await;
    let answer = wire.message().await.unwrap();
    (received.try_recv().ok(), answer)
}

#[tokio::test]
async fn fields_of_a_connection_go_no_further_in_either_direction() {
    let (request, answer) = through(
        "",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Connection: close\r\nProxy-Authorization: x\r\nTE: trailers, gzip\r\nUpgrade: websocket\r\n\
         HTTP2-Settings: AAA\r\nX-Kept: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=3\r\n\
         Proxy-Connection: close\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\nX-Kept: 2\r\n\r\nok",
    )
    .await;
    let mut names: Vec<_> = request.unwrap().fields.into_iter().map(|field| field.0).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "te", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-kept"]);
    let mut names: Vec<_> = answer.fields.into_iter().map(|field| field.0).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date", "x-kept"]);
}

#[tokio::test]
async fn forwarded_fields_are_replaced_or_extended_as_configured() {
    let request = "GET / HTTP/1.1\r\nHost: b.example\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                   X-Forwarded-Host: a.example\r\n\r\n";
    let forwarded = |message: Option<Message>| {
        let message = message.unwrap();
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(|name| message.field(name).unwrap().to_owned())
    };
    let (replaced, _) = through("", request, OK).await;
    assert_eq!(forwarded(replaced), ["127.0.0.1", "http", "b.example"]);
    let (extended, _) = through("forwarded_headers = \"append\"", request, OK).await;
    assert_eq!(forwarded(extended), ["6.6.6.6, 127.0.0.1", "https", "a.example"]);
}

#[tokio::test]
async fn the_authority_comes_from_the_target_or_the_host_field() {
    for (request, host, target) in [
        (
            "GET http://b.example:81/x?y HTTP/1.1\r\nHost: b.example:81\r\n\r\n",
            Some("b.example:81"),
            "GET /x?y HTTP/1.1",
        ),
        ("GET http://b.example HTTP/1.1\r\nHost: b.example\r\n\r\n", Some("b.example"), "GET / HTTP/1.1"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Some("a"), "OPTIONS * HTTP/1.1"),
        ("GET /old HTTP/1.0\r\n\r\n", Some("origin"), "GET /old HTTP/1.1"),
    ] {
        let (received, answer) = through("", request, OK).await;
        let received = received.unwrap_or_else(|| panic!("{request} gets {answer:?}"));
        assert_eq!((received.field("host"), &*received.start), (host, target), "{request}");
        assert_eq!((answer.status(), answer.text()), (200, "ok"));
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_body_it_can_read() {
    let (origin, _received) =
        Origin::canned("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("GET / HTTP/1.0\r\n\r\n").await;
    let head = wire.head().await.unwrap();
    assert_eq!(head.field("transfer-encoding"), None);
    assert_eq!(wire.rest().await, b"abc");
}

#[tokio::test]
async fn responses_without_a_body_keep_their_fields_and_the_connection() {
    let origin = Origin::raw(|mut wire, _| async move {
        while let Some(request) = wire.message().await {
            let response = match &*request.start {
                "GET /204 HTTP/1.1" => "HTTP/1.1 204 No Content\r\n\r\n",
                "GET /304 HTTP/1.1" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 7\r\n\r\n",
                "HEAD /head HTTP/1.1" => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
                _ => OK,
            };
            wire.send(response).await;
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let mut head = get("/head");
        *head.method_mut() = Method::HEAD;
        let answer = client.exchange(head).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-length"), answer.text()), (200, "7", ""));
        assert_eq!(client.get("/204").await.status, 204);
        let answer = client.get("/304").await;
        assert_eq!((answer.status.as_u16(), answer.header("etag"), answer.text()), (304, "\"a\"", ""));
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_head_request_gets_no_body_of_the_hosts_own_either() {
    let proxy = Proxy::start("");
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        for _ in 0..2 {
            let mut head = get("/");
            *head.method_mut() = Method::HEAD;
            let answer = client.exchange(head).await;
            assert_eq!((answer.outcome(), answer.text()), ((404, "no-route"), ""), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn interim_responses_are_not_taken_for_the_final_one() {
    let (origin, _received) = Origin::canned(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        for _ in 0..2 {
            assert_eq!(client.get("/").await.text(), "ok");
        }
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_a_bad_response() {
    let (origin, _received) =
        Origin::canned("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!(answer.outcome(), (502, "bad-response"));
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_the_upstream_gets_it() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("hello").await;
    assert_eq!(wire.message().await.unwrap().status(), 200);
    assert_eq!(received.recv().await.unwrap().text(), "hello");

    let refusing = Proxy::start("");
    let mut wire = Wire::connect(refusing.address()).await;
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(wire.message().await.unwrap().status(), 404);
}

#[tokio::test]
async fn cookies_that_http_2_splits_reach_an_http_1_origin_in_one_field() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut request = get("/");
    for crumb in ["a=1", "b=2", "c=3"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(crumb));
    }
    Client::to(&proxy, Protocol::Http2).await.exchange(request).await;
    assert_eq!(received.recv().await.unwrap().field("cookie"), Some("a=1; b=2; c=3"));
}

#[tokio::test]
async fn an_empty_post_keeps_its_length_of_zero() {
    for protocol in Protocol::BOTH {
        let (origin, mut received) = Origin::canned(OK).await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut request = post("/", empty());
        request.headers_mut().insert("content-length", HeaderValue::from_static("0"));
        Client::to(&proxy, protocol).await.exchange(request).await;
        assert_eq!(received.recv().await.unwrap().field("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn many_values_of_a_field_stay_apart_and_in_order() {
    let origin = Origin::http(Protocol::Http2, |request| async move {
        let mut response = Response::new(full("ok"));
        for value in request.headers().get_all("x-many") {
            response.headers_mut().append("x-many", value.clone());
        }
        response
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http2);
    let mut request = get("/");
    for value in ["b", "a", "b"] {
        request.headers_mut().append("x-many", HeaderValue::from_static(value));
    }
    let answer = Client::to(&proxy, Protocol::Http1).await.exchange(request).await;
    let values: Vec<_> = answer.headers.get_all("x-many").iter().collect();
    assert_eq!(values, ["b", "a", "b"]);
}
