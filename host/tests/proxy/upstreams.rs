//! What becomes of an exchange when its upstream misbehaves, and which endpoint gets it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::Response;

use crate::support::{
    Answer, Client, Origin, Protocol, Proxy, ROUTE, Refusing, Wire, eventually, full, get, post, soon, upstream,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that answers each request's head with `response` and closes, or resets, its connection.
async fn closing(response: &'static str, reset: bool) -> Origin {
    Origin::raw(move |mut wire, _| async move {
        wire.head().await;
        wire.send(response).await;
        if reset {
            wire.reset();
        }
    })
    .await
}

async fn ask(origin: &Origin, keys: &str) -> Answer {
    let proxy = Proxy::start(&format!("{ROUTE}{}{keys}", upstream("origin", Protocol::Http1, &[origin.address])));
    Client::to(&proxy, Protocol::Http1).await.get("/").await
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_a_connect_failure() {
    let refusing = Refusing::new();
    for protocol in Protocol::BOTH {
        let proxy = Proxy::start(&format!("{ROUTE}{}", upstream("origin", protocol, &[refusing.address])));
        let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
        assert_eq!(answer.outcome(), (503, "connect-failure"));
        assert!(answer.text().contains("\"error\":\"connect-failure\""), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_a_reset() {
    for (response, reset) in [("", false), ("", true), ("HTTP/1.1 200 OK\r\nContent-", false)] {
        let origin = closing(response, reset).await;
        assert_eq!(ask(&origin, "").await.outcome(), (502, "reset"), "{response:?} {reset}");
        assert_eq!(origin.connections(), 1, "not tried again");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_bad_response() {
    for response in [
        "rubbish\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    ] {
        let origin = closing(response, false).await;
        assert_eq!(ask(&origin, "").await.outcome(), (502, "bad-response"), "{response:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_reaches_the_client_as_such() {
    for (response, reset) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\nxx\r\n", false),
    ] {
        let origin = closing(response, reset).await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        for protocol in Protocol::BOTH {
            let client = Client::to(&proxy, protocol).await;
            let answer = match client.try_send(get("/")).await {
                Ok(response) => Answer::read(response).await,
                Err(error) => Err(error),
            };
            assert!(answer.is_err(), "{protocol:?} {response:?} {reset}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_a_timeout() {
    let origin = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    assert_eq!(ask(&origin, "response_timeout = \"50ms\"").await.outcome(), (504, "timeout"));
    let of_route = format!("{ROUTE}timeout = \"50ms\"\n{}", upstream("origin", Protocol::Http1, &[origin.address]));
    let proxy = Proxy::start(&of_route);
    assert_eq!(Client::to(&proxy, Protocol::Http2).await.get("/").await.outcome(), (504, "timeout"));
}

#[tokio::test]
async fn a_body_that_stalls_ends_with_the_routes_timeout() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await;
        wire.rest().await;
    })
    .await;
    let config = format!("{ROUTE}timeout = \"200ms\"\n{}", upstream("origin", Protocol::Http1, &[origin.address]));
    let proxy = Proxy::start(&config);
    for protocol in Protocol::BOTH {
        let answer = Client::to(&proxy, protocol).await.send(get("/")).await;
        assert_eq!(answer.status(), 200);
        assert!(Answer::read(answer).await.is_err());
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        wire.rest().await;
    })
    .await;
    for protocol in Protocol::BOTH {
        // Of its own, because the origin answers once per connection.
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let answer = Client::to(&proxy, protocol).await.exchange(post("/", full(vec![0; 1 << 20]))).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (403, "no"));
    }
}

/// An origin that answers the first request of its first connection, ends that connection at the second request, and
/// answers everything on later ones; with the number of requests it saw.
async fn stale() -> (Origin, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let counted = requests.clone();
    let origin = Origin::raw(move |mut wire, connection| {
        let counted = counted.clone();
        async move {
            let mut on_this = 0;
            while wire.message().await.is_some() {
                counted.fetch_add(1, Ordering::SeqCst);
                on_this += 1;
                if connection == 1 && on_this == 2 {
                    return wire.reset();
                }
                wire.send(OK).await;
            }
        }
    });
    (origin.await, requests)
}

#[tokio::test]
async fn a_stale_connection_is_replaced_where_sending_twice_does_no_harm() {
    let (origin, requests) = stale().await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!((origin.connections(), requests.load(Ordering::SeqCst)), (2, 3));
}

#[tokio::test]
async fn a_post_that_was_sent_is_never_sent_twice() {
    for body in ["content", ""] {
        let (origin, requests) = stale().await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let client = Client::to(&proxy, Protocol::Http1).await;
        assert_eq!(client.get("/").await.text(), "ok");
        assert_eq!(client.exchange(post("/", full(body))).await.outcome(), (502, "reset"), "{body:?}");
        assert_eq!((origin.connections(), requests.load(Ordering::SeqCst)), (1, 2), "{body:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_closes_after_each_answer_serves_every_request() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let client = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..20 {
        assert_eq!(client.exchange(post("/", full(""))).await.text(), "ok");
    }
    assert_eq!(origin.connections(), 20);
}

#[tokio::test]
async fn connections_are_capped_and_the_request_that_gets_none_in_time_is_refused() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let config = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}{config}max_connections = 1\nconnect_timeout = \"100ms\""));
    let (first, second) = (Client::to(&proxy, Protocol::Http1).await, Client::to(&proxy, Protocol::Http1).await);
    let first = tokio::spawn(async move { first.get("/").await });
    eventually("the first request arrives", || origin.requests() == 1).await;
    let refused = second.get("/").await;
    assert_eq!((refused.outcome(), refused.header("retry-after")), ((503, "overloaded"), "1"));
    gate.add_permits(2);
    assert_eq!(soon("the first answer", first).await.unwrap().text(), "ok");
    assert_eq!(second.get("/").await.text(), "ok");
    assert_eq!((origin.connections(), origin.requests()), (1, 2));
}

#[tokio::test]
async fn requests_above_the_cap_wait_for_the_connection_to_come_free() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let config = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}{config}max_connections = 1\nconnect_timeout = \"20s\""));
    let mut asked = Vec::new();
    for _ in 0..5 {
        let client = Client::to(&proxy, Protocol::Http1).await;
        asked.push(tokio::spawn(async move { client.get("/").await }));
    }
    eventually("a request arrives", || origin.requests() == 1).await;
    asked.remove(1).abort();
    gate.add_permits(5);
    for asked in asked {
        assert_eq!(soon("an answer", asked).await.unwrap().text(), "ok");
    }
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed_after_their_time() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire: Wire, _| {
        let ended = ended.clone();
        async move {
            wire.head().await;
            wire.send(OK).await;
            wire.rest().await;
            ended.send(()).unwrap();
        }
    })
    .await;
    let config = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}{config}idle_timeout = \"50ms\""));
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.text(), "ok");
    soon("the connection's end", end.recv()).await.unwrap();
}

#[tokio::test]
async fn a_closed_http_2_connection_is_replaced() {
    for _ in 0..3 {
        let origin = Origin::http(Protocol::Http2, |_| async { Response::new(full("ok")) }).await;
        let proxy = Proxy::before(&origin, Protocol::Http2);
        let client = Client::to(&proxy, Protocol::Http1).await;
        assert_eq!(client.get("/").await.text(), "ok");
        origin.close_connections();
        eventually("the connection's end", || origin.open() == 0).await;
        assert_eq!(client.get("/").await.text(), "ok");
        assert_eq!(origin.connections(), 2);
    }
}

/// `count` origins and a proxy before them.
async fn several(count: usize, balancing: &str) -> (Vec<Origin>, Proxy) {
    let mut origins = Vec::new();
    for _ in 0..count {
        origins.push(Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await);
    }
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let config = upstream("origin", Protocol::Http1, &addresses);
    let proxy = Proxy::start(&format!("{ROUTE}{config}load_balancing = \"{balancing}\""));
    (origins, proxy)
}

#[tokio::test]
async fn round_robin_takes_every_endpoint_in_turn() {
    let (origins, proxy) = several(3, "round_robin").await;
    let client = Client::to(&proxy, Protocol::Http2).await;
    for _ in 0..9 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    let shares: Vec<_> = origins.iter().map(Origin::requests).collect();
    assert_eq!(shares, [3, 3, 3]);
}

#[tokio::test]
async fn random_takes_every_endpoint_now_and_then() {
    let (origins, proxy) = several(2, "random").await;
    let client = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..100 {
        client.get("/").await;
    }
    assert!(origins.iter().all(|origin| origin.requests() > 15));
}

#[tokio::test]
async fn least_request_avoids_the_endpoint_that_is_busy() {
    let (busy, _gate) = Origin::gated(Protocol::Http1).await;
    let free = Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await;
    let config = upstream("origin", Protocol::Http1, &[busy.address, free.address]);
    let proxy = Proxy::start(&format!("{ROUTE}{config}load_balancing = \"least_request\""));
    let client = Client::to(&proxy, Protocol::Http2).await;
    let mut asked = Vec::new();
    while busy.requests() == 0 {
        let client = client.clone();
        asked.push(tokio::spawn(async move { client.get("/").await }));
        tokio::task::yield_now().await;
        let arrived = asked.len();
        eventually("the request arrives", || busy.requests() + free.requests() == arrived).await;
    }
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(busy.requests(), 1);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let refusing = Refusing::new();
    let origin = Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await;
    let config = upstream("origin", Protocol::Http1, &[refusing.address, origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}{config}load_balancing = \"round_robin\""));
    let client = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..10 {
        assert_eq!(client.exchange(post("/", full("content"))).await.text(), "ok");
    }
}

#[tokio::test]
async fn weights_share_a_route_among_upstreams() {
    let (few, many) = (
        Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await,
        Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await,
    );
    let proxy = Proxy::start(&format!(
        "[[routes]]\nupstream = [{{ name = \"few\", weight = 10 }}, {{ name = \"many\", weight = 90 }}]\n{}{}",
        upstream("few", Protocol::Http1, &[few.address]),
        upstream("many", Protocol::Http1, &[many.address]),
    ));
    let client = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..400 {
        client.get("/").await;
    }
    assert!((10..=90).contains(&few.requests()), "{} of 400", few.requests());
    assert_eq!(few.requests() + many.requests(), 400);
}
