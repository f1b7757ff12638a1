//! Interim responses, and requests that wait for one before they send their body.

use crate::support::{Origin, Protocol, Proxy, ROUTE, Wire, filter, upstream};

const ASK: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn case_37_the_body_is_asked_for_once_the_upstream_wants_it() {
    let origin = Origin::raw(|mut wire, _| async move {
        let asked = wire.head().await.unwrap();
        assert_eq!(asked.field("expect"), Some("100-continue"));
        assert!(wire.is_silent().await, "the body came unasked");
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(wire.take(5).await, b"hello");
        wire.send(OK).await;
        wire.message().await.unwrap();
        wire.send(OK).await;
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK).await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("hello").await;
    assert_eq!(wire.message().await.unwrap().text(), "ok");
    wire.send(NEXT).await;
    assert_eq!(wire.message().await.unwrap().text(), "ok", "the connection is in step");
}

#[tokio::test]
async fn case_37_a_final_answer_before_the_body_is_passed_on_and_the_connection_not_desynced() {
    for answer in ["HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", OK] {
        let (origin, mut received) = answering_heads(answer).await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(ASK).await;
        let message = wire.message().await.unwrap();
        assert_eq!(message.start, answer.lines().next().unwrap(), "and no 100 before it");
        // The body never came: what follows must not be taken for it, nor for a request.
        let _ = wire.try_send(NEXT).await;
        assert_eq!(wire.rest().await, b"");
        assert!(received.recv().await.unwrap().start.starts_with("POST / "));
        assert!(received.try_recv().is_err());
    }
}

/// An origin that answers every head at once.
async fn answering_heads(
    answer: &'static str,
) -> (Origin, tokio::sync::mpsc::UnboundedReceiver<crate::support::Message>) {
    let (heads, received) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire, _| {
        let heads = heads.clone();
        async move {
            while let Some(head) = wire.head().await {
                let _ = heads.send(head);
                if !wire.try_send(answer).await {
                    return;
                }
            }
        }
    });
    (origin.await, received)
}

#[tokio::test]
async fn case_37_an_upstream_that_never_says_continue_gets_the_body_all_the_same() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK).await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("hello").await;
    assert_eq!(wire.message().await.unwrap().text(), "ok");
    assert_eq!(received.recv().await.unwrap().text(), "hello");
}

#[tokio::test]
async fn case_37_an_upstream_of_http2_gets_the_body_at_once() {
    let origin = Origin::http(Protocol::Http2, |request| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        http::Response::new(crate::support::full(body))
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http2);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK).await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("hello").await;
    assert_eq!(wire.message().await.unwrap().text(), "hello");
}

#[tokio::test]
async fn case_37_an_odd_expectation_fails_and_http_1_0_has_none() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for value in ["200-ok", "100-continue, more", "100-continue\r\nExpect: other"] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(ASK.replace("100-continue", value) + "hello" + NEXT).await;
        assert_eq!(wire.message().await.unwrap().status(), 417, "{value}");
        assert_eq!(wire.rest().await, b"");
    }
    assert!(received.try_recv().is_err());
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(ASK.replace("HTTP/1.1", "HTTP/1.0") + "hello").await;
    assert_eq!(wire.message().await.unwrap().status(), 200, "without a 100");
    let seen = received.recv().await.unwrap();
    assert_eq!((seen.field("expect"), seen.text()), (None, "hello"));
}

#[tokio::test]
async fn case_38_interim_responses_are_read_over_up_to_a_limit() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for (hints, expected) in [(1, 200), (32, 200), (33, 502), (1000, 502)] {
        let answer: &str = Box::leak((HINT.repeat(hints) + OK).into_boxed_str());
        let (origin, _received) = Origin::canned(answer).await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        for _ in 0..2 {
            wire.send(NEXT).await;
            let answer = wire.message().await.unwrap();
            assert_eq!(answer.status(), expected, "{hints}");
            assert_eq!(answer.field("x-meshup-error"), (expected == 502).then_some("bad-response"));
        }
    }
    let mixed =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (origin, _received) = Origin::canned(mixed).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(NEXT).await;
    assert_eq!(wire.message().await.unwrap().text(), "ok");
}

/// A proxy whose filter answers everything by itself.
async fn answering() -> (Origin, Proxy) {
    let (origin, _) = Origin::canned(OK).await;
    let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}filters = [\"f\"]\n{}{upstream}", filter("f", "\"respond\"")));
    (origin, proxy)
}

#[tokio::test]
async fn case_14_a_small_rest_of_an_answered_request_is_read_over() {
    let (_origin, proxy) = answering().await;
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n").await;
    let first = wire.message().await.unwrap().status();
    wire.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000).get(..40_000).unwrap()).await;
    wire.send(NEXT).await;
    assert_eq!(wire.message().await.unwrap().status(), first, "one answer for the next request");
    wire.end().await;
    assert_eq!(wire.rest().await, b"", "and no other");
}

#[tokio::test]
async fn case_14_a_large_rest_of_an_answered_request_closes_the_connection() {
    let (_origin, proxy) = answering().await;
    for framing in ["Content-Length: 10000000", "Transfer-Encoding: chunked"] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")).await;
        wire.message().await.unwrap();
        let rest = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3000);
        let rest = if framing.ends_with("chunked") { format!("{:x}\r\n{rest}\r\n", rest.len()) } else { rest };
        let _ = wire.try_send(rest).await;
        assert_eq!(wire.rest().await, b"", "{framing}");
    }
}

#[tokio::test]
async fn case_15_a_request_behind_an_early_answer_of_the_upstream_is_its_own() {
    let (origin, mut received) = answering_heads("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 19\r\n\r\n").await;
    assert_eq!(wire.message().await.unwrap().status(), 403);
    wire.send(format!("GET /x HTTP/1.1\r\n\r\n{NEXT}")).await;
    assert_eq!(wire.message().await.unwrap().status(), 403);
    assert!(received.recv().await.unwrap().start.starts_with("POST /first"));
    assert!(received.recv().await.unwrap().start.starts_with("GET /next"), "on a connection that is in step");
}
