//! What filters can do to an exchange, and what they are told of it.

use http::{HeaderValue, Response};
use http_body_util::BodyExt;

use crate::support::{
    Client, Message, Origin, Protocol, Proxy, ROUTE, channel, filter, full, get, post, soon, upstream, with_trailers,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Removed: 1\r\nX-Changed: old\r\n\r\nok";

/// A proxy whose only route goes through filters that do these things, outermost first.
fn filtered(origin: &Origin, actions: &[&str]) -> Proxy {
    let names: Vec<_> = (0..actions.len()).map(|at| format!("\"f{at}\"")).collect();
    let filters: String = actions.iter().enumerate().map(|(at, action)| filter(&format!("f{at}"), action)).collect();
    let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
    Proxy::start(&format!("{ROUTE}filters = [{}]\n{filters}{upstream}", names.join(", ")))
}

/// The outermost filter's state, once it is there.
async fn state(proxy: &Proxy, key: &str) -> String {
    let client = Client::to(proxy, Protocol::Http1).await;
    let path = format!("/state/{key}");
    soon(key, async {
        loop {
            let value = client.get(&path).await.text().to_owned();
            if !value.is_empty() {
                return value;
            }
        }
    })
    .await
}

/// What the origin gets and the client gets when a plain POST goes through these filters.
async fn through(actions: &[&str]) -> (Option<Message>, crate::support::Answer) {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = filtered(&origin, actions);
    let answer = Client::to(&proxy, Protocol::Http1).await.exchange(post("/path?q", full("content"))).await;
    (received.try_recv().ok(), answer)
}

#[tokio::test]
async fn filters_pass_and_run_in_their_order() {
    let chain = ["{ run = \"a\" }", "{ pass = \"b\" }", "{ run = \"c\" }", "{ pass = \"d\" }"];
    let (request, answer) = through(&chain).await;
    let request = request.unwrap();
    let values = |name: &str| -> Vec<String> {
        request.fields.iter().filter(|field| field.0 == name).map(|field| field.1.clone()).collect()
    };
    assert_eq!((values("x-ran"), values("x-passed")), (vec!["a".into(), "c".into()], vec!["b".into(), "d".into()]));
    assert_eq!((request.text(), answer.text()), ("content", "ok"));
    let ran: Vec<_> = answer.headers.get_all("x-ran").iter().collect();
    assert_eq!(ran, ["c", "a"]);
}

#[tokio::test]
async fn a_filter_may_answer_by_itself() {
    let (request, answer) = through(&["{ run = \"a\" }", "\"respond\"", "{ run = \"b\" }"]).await;
    assert!(request.is_none());
    assert_eq!((answer.status.as_u16(), answer.header("x-own"), answer.text()), (418, "1", "teapot"));
    assert_eq!((answer.header("x-ran"), answer.header("content-length")), ("a", "6"));
}

#[tokio::test]
async fn a_filter_may_change_the_response() {
    let (_, answer) = through(&["\"deliver\""]).await;
    assert_eq!((answer.status.as_u16(), answer.text(), answer.header("content-length")), (203, "replaced", "8"));
    let headers = ["x-changed", "x-added", "x-removed"].map(|name| answer.header(name));
    assert_eq!(headers, ["new", "1", ""]);
}

#[tokio::test]
async fn a_filter_may_change_the_request() {
    let changes =
        "METHOD = \"PUT\", PATH = \"/new?p\", AUTHORITY = \"new.example\", x-set = \"1\", x-forwarded-host = \"\"";
    let (request, answer) =
        through(&[&format!("{{ change = {{ {changes} }} }}"), "{ replace-request = \"other\" }"]).await;
    let request = request.unwrap();
    assert_eq!(answer.text(), "ok");
    assert_eq!((&*request.start, request.field("host")), ("PUT /new?p HTTP/1.1", Some("new.example")));
    assert_eq!((request.field("x-set"), request.field("x-forwarded-host")), (Some("1"), None));
    assert_eq!((request.text(), request.field("content-length")), ("other", Some("5")));
}

#[tokio::test]
async fn changes_that_would_break_the_message_are_faults() {
    for change in [
        "content-length = \"3\"",
        "transfer-encoding = \"chunked\"",
        "connection = \"close\"",
        "host = \"a\"",
        "x-a = \"b\\r\\nx-c: d\"",
        "x-a = \"b\\u0000\"",
        "\"x a\" = \"b\"",
        "\"x\\r\\ny\" = \"b\"",
        "METHOD = \"G T\"",
        "METHOD = \"CONNECT\"",
        "PATH = \"no-slash\"",
        "PATH = \"/a b\"",
        "AUTHORITY = \"a/b\"",
        "content-length = \"\"",
    ] {
        let (request, answer) = through(&[&format!("{{ change = {{ {change} }} }}")]).await;
        assert!(request.is_none(), "{change}: {request:?}");
        assert_eq!(answer.outcome(), (503, "filter-fault"), "{change}");
    }
}

/// An origin that fails `failures` times and then answers with what it got.
async fn failing(failures: usize) -> (Origin, tokio::sync::mpsc::UnboundedReceiver<Message>) {
    let (received, messages) = tokio::sync::mpsc::unbounded_channel();
    let failed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let origin = Origin::raw(move |mut wire, _| {
        let (received, failed) = (received.clone(), failed.clone());
        async move {
            while let Some(message) = wire.message().await {
                received.send(message).unwrap();
                let fails = failed.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < failures;
                wire.send(if fails { "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy" } else { OK }).await;
            }
        }
    });
    (origin.await, messages)
}

#[tokio::test]
async fn a_run_again_sends_the_same_body_and_re_enters_the_filters_behind() {
    for body in ["", "content"] {
        let (origin, mut received) = failing(2).await;
        let proxy = filtered(&origin, &["{ replay = 3 }", "{ run = \"inner\" }", "{ pass = \"last\" }"]);
        let answer = Client::to(&proxy, Protocol::Http2).await.exchange(post("/", full(body))).await;
        assert_eq!((answer.text(), answer.header("x-attempt"), answer.header("x-replayable")), ("ok", "3", "true"));
        assert_eq!(answer.headers.get_all("x-ran").iter().count(), 1);
        for attempt in ["1", "2", "3"] {
            let request = received.recv().await.unwrap();
            assert_eq!((request.field("x-attempt"), request.text()), (Some(attempt), body));
            assert_eq!((request.field("x-ran"), request.field("x-passed")), (Some("inner"), Some("last")));
        }
    }
}

#[tokio::test]
async fn a_body_over_the_replay_limit_is_sent_once_and_the_filter_is_told() {
    for (len, attempts, outcome) in [(1000, "2", (200, "")), (100_000, "3", (502, "replay-limit"))] {
        let (origin, _received) = failing(1).await;
        let proxy = filtered(&origin, &["{ replay = 3 }"]);
        let answer = Client::to(&proxy, Protocol::Http1).await.exchange(post("/", full(vec![1; len]))).await;
        assert_eq!((answer.outcome(), answer.header("x-attempt")), (outcome, attempts), "{len}");
        assert_eq!(answer.header("x-replayable"), if len == 1000 { "true" } else { "false" });
    }
}

#[tokio::test]
async fn a_streamed_body_is_replayed_with_its_trailers() {
    let (origin, mut received) = failing(1).await;
    let proxy = filtered(&origin, &["{ replay = 2 }"]);
    let mut request = post("/", with_trailers("content", "x-sum", "5"));
    request.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.exchange(request).await.text(), "ok");
    for _ in 0..2 {
        let request = received.recv().await.unwrap();
        assert_eq!((request.text(), &*request.trailers[0].1), ("content", "5"));
    }
}

/// An origin that never answers.
async fn silent() -> Origin {
    Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await
}

#[tokio::test]
async fn a_run_may_have_a_deadline_of_its_own() {
    let origin = silent().await;
    let proxy = filtered(&origin, &["{ deadline = 50 }", "{ run = \"inner\" }"]);
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.status, 299);
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = filtered(&origin, &["{ deadline = 20000 }"]);
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.text(), "ok");
}

#[tokio::test]
async fn a_filter_that_sleeps_behind_a_deadline_is_cancelled() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = filtered(&origin, &["{ deadline = 50 }", "{ sleep = 3600000 }"]);
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.status, 299);
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn a_filter_may_set_the_timeout_of_the_exchange() {
    let origin = silent().await;
    let proxy = filtered(&origin, &["{ run = \"outer\" }", "{ set-timeout = 50 }"]);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    assert_eq!((answer.outcome(), answer.header("x-ran")), ((504, "timeout"), "outer"));
}

#[tokio::test]
async fn a_filter_may_sleep_before_it_passes() {
    assert_eq!(through(&["{ sleep = 5 }"]).await.1.text(), "ok");
}

#[tokio::test]
async fn a_filter_may_read_a_request_body_and_what_is_too_large_goes_on_untouched() {
    for (len, limit, read) in [
        (7, 7, "7 bytes"),
        (7, 6, "too-large"),
        (0, 0, "0 bytes"),
        (300_000, 1000, "too-large"),
        (300_000, 300_000, "300000 bytes"),
    ] {
        for protocol in Protocol::BOTH {
            let (origin, mut received) = Origin::canned(OK).await;
            let proxy = filtered(&origin, &[&format!("{{ read-request = {limit} }}")]);
            let content: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let streamed = post("/", with_trailers(content.clone(), "x-sum", "1"));
            for request in [post("/", full(content.clone())), streamed] {
                assert_eq!(Client::to(&proxy, protocol).await.exchange(request).await.text(), "ok");
                let request = received.recv().await.unwrap();
                assert_eq!(request.field("x-read"), Some(read), "{len} {limit} {protocol:?}");
                assert!(request.body == content, "{len} {limit} {protocol:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_filter_may_read_a_response_body_and_what_is_too_large_goes_on_untouched() {
    for (len, limit, read) in [
        (7, 7, "7 bytes"),
        (7, 6, "too-large"),
        (0, 0, "0 bytes"),
        (300_000, 1000, "too-large"),
        (300_000, 300_000, "300000 bytes"),
    ] {
        let content: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let sent = content.clone();
        let origin = Origin::http(Protocol::Http1, move |_| {
            let mut response = Response::new(with_trailers(sent.clone(), "x-sum", "7"));
            response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
            std::future::ready(response)
        })
        .await;
        let proxy = filtered(&origin, &[&format!("{{ read-response = {limit} }}")]);
        for protocol in Protocol::BOTH {
            let mut request = get("/");
            request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
            let answer = Client::to(&proxy, protocol).await.exchange(request).await;
            assert_eq!(answer.header("x-read"), read, "{len} {limit} {protocol:?}");
            assert!(answer.body == content, "{len} {limit} {protocol:?}");
            assert_eq!(answer.trailers.expect("trailers")["x-sum"], "7", "{len} {limit} {protocol:?}");
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[tokio::test]
async fn a_filter_may_ask_other_upstreams() {
    let (origin, _received) = Origin::canned(OK).await;
    let (asked, mut questions) = Origin::canned("HTTP/1.1 203 X\r\nContent-Length: 6\r\n\r\nanswer").await;
    let silent = silent().await;
    for (fetch, expected) in [
        ("upstream = \"asked\", millis = 20000, limit = 6", "203 answer"),
        ("upstream = \"asked\", millis = 20000, limit = 5", "limit-exceeded"),
        ("upstream = \"silent\", millis = 50, limit = 5", "timeout"),
        ("upstream = \"unknown\", millis = 50, limit = 5", "no-upstream"),
    ] {
        let proxy = Proxy::start(&format!(
            "{ROUTE}filters = [\"f\"]\n{}{}{}{}",
            filter("f", &format!("{{ fetch = {{ {fetch} }} }}")),
            upstream("origin", Protocol::Http1, &[origin.address]),
            upstream("asked", Protocol::Http1, &[asked.address]),
            upstream("silent", Protocol::Http1, &[silent.address]),
        ));
        assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.text(), expected, "{fetch}");
    }
    let question = questions.recv().await.unwrap();
    assert_eq!((&*question.start, question.text()), ("POST /asked HTTP/1.1", "question"));
    assert_eq!((question.field("x-asked"), question.field("host")), (Some("1"), Some("asked")));
}

#[tokio::test]
async fn a_filter_may_choose_the_upstream() {
    let (origin, _received) = Origin::canned(OK).await;
    let (other, _questions) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother").await;
    for (name, expected) in [("other", (200, "")), ("unknown", (503, "no-upstream"))] {
        let proxy = Proxy::start(&format!(
            "{ROUTE}filters = [\"f\"]\n{}{}{}",
            filter("f", &format!("{{ set-upstream = \"{name}\" }}")),
            upstream("origin", Protocol::Http1, &[origin.address]),
            upstream("other", Protocol::Http1, &[other.address]),
        ));
        let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
        assert_eq!(answer.outcome(), expected);
        assert!(name != "other" || answer.text() == "other");
    }
}

#[tokio::test]
async fn filters_leave_variables_for_later_filters() {
    let (request, _) = through(&["{ set-variable = [\"who\", \"alice\"] }", "{ show-variable = \"who\" }"]).await;
    assert_eq!(request.unwrap().field("x-variable"), Some("alice"));
}

#[tokio::test]
async fn workers_share_the_state_of_a_filter() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = Proxy::start(&format!(
        "workers = 2\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{ROUTE}filters = [\"f\"]\n{}{}",
        filter("f", "\"count\""),
        upstream("origin", Protocol::Http1, &[origin.address])
    ));
    for expected in 1..=40 {
        let client = Client::to(&proxy, Protocol::Http1).await;
        assert_eq!(client.get("/").await.text(), expected.to_string());
    }
}

#[tokio::test]
async fn filters_learn_the_attributes_of_the_exchange() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = filtered(&origin, &["\"attributes\""]);
    for (protocol, name) in [(Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2")] {
        let mut request = get("/");
        request.headers_mut().insert("x-request-id", HeaderValue::from_static("abc-1"));
        let answer = Client::to(&proxy, protocol).await.exchange(request).await;
        for (header, expected) in [
            ("x-client", "127.0.0.1"),
            ("x-listener", "http"),
            ("x-route", "route-1"),
            ("x-upstream", "origin"),
            ("x-endpoint", &origin.address.to_string()),
            ("x-request-id", "abc-1"),
            ("x-protocol", name),
            ("x-attempts", "1"),
        ] {
            assert_eq!(answer.header(header), expected, "{header}");
        }
    }
}

#[tokio::test]
async fn the_end_of_an_exchange_is_told_with_what_it_came_to() {
    let answering = Origin::http(Protocol::Http1, |request| async move {
        let _ = request.into_body().collect().await;
        let mut response = Response::new(with_trailers("hello", "grpc-status", "5"));
        response.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status"));
        response
    })
    .await;
    let proxy = filtered(&answering, &["{ pass = \"f\" }"]);
    let mut request = post("/", with_trailers("abc", "x-sum", "1"));
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    Client::to(&proxy, Protocol::Http2).await.exchange(request).await;
    assert_eq!(state(&proxy, "end").await, "200 3 5 5 Complete answered");

    let silent = silent().await;
    let proxy = filtered(&silent, &["{ set-timeout = 50 }"]);
    Client::to(&proxy, Protocol::Http1).await.get("/").await;
    let end = state(&proxy, "end").await;
    assert!(end.starts_with("504 0 ") && end.ends_with("none Complete silent"), "{end}");

    let broken = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await;
    })
    .await;
    let proxy = filtered(&broken, &["{ pass = \"f\" }"]);
    let response = Client::to(&proxy, Protocol::Http2).await.try_send(get("/")).await;
    drop(response.unwrap().into_body().collect().await);
    assert_eq!(state(&proxy, "end").await, "200 0 5 none UpstreamAbort answered");
}

#[tokio::test]
async fn an_exchange_whose_client_leaves_is_cancelled_and_ends() {
    let (feed, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let feeding = Origin::http(Protocol::Http1, {
        let body = std::sync::Arc::new(body);
        move |_| std::future::ready(Response::new(body.lock().unwrap().take().unwrap()))
    })
    .await;
    let proxy = filtered(&feeding, &["{ pass = \"f\" }"]);
    let client = Client::to(&proxy, Protocol::Http1).await;
    let mut response = client.send(get("/")).await;
    assert!(feed.send("hello").await);
    assert!(soon("a piece", response.frame()).await.is_some());
    drop((client, response));
    assert_eq!(state(&proxy, "end").await, "200 0 5 none ClientAbort answered");

    for protocol in Protocol::BOTH {
        let proxy = filtered(&silent().await, &["{ sleep = 3600000 }"]);
        let client = Client::to(&proxy, protocol).await;
        let asking = tokio::spawn(async move { client.try_send(get("/")).await });
        assert_eq!(state(&proxy, "begun").await, "1");
        asking.abort();
        assert_eq!(state(&proxy, "cancelled").await, "1", "{protocol:?}");
        assert_eq!(state(&proxy, "end").await, "0 0 0 none ClientAbort silent", "{protocol:?}");
    }
}
