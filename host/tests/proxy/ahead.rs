//! Changes to the headers of a response that a filter makes ahead, when it passes the request on.

use crate::support::{Answer, Client, Origin, Protocol, Proxy, ROUTE, filter, get, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Removed: 1\r\nX-Changed: old\r\n\r\nok";
const CHANGE: &str = "{ ahead = { x-changed = \"new\", x-removed = \"\" } }";

async fn through(origin: &Origin, actions: &[&str]) -> Answer {
    let names: Vec<_> = (0..actions.len()).map(|at| format!("\"f{at}\"")).collect();
    let filters: String = actions.iter().enumerate().map(|(at, action)| filter(&format!("f{at}"), action)).collect();
    let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}filters = [{}]\n{filters}{upstream}", names.join(", ")));
    Client::to(&proxy, Protocol::Http1).await.exchange(get("/")).await
}

fn added(answer: &Answer) -> usize {
    answer.headers.get_all("x-ahead").iter().count()
}

#[tokio::test]
async fn they_are_made_when_the_response_comes() {
    let (origin, _requests) = Origin::canned(OK).await;
    let answer = through(&origin, &[CHANGE]).await;
    assert_eq!((answer.text(), answer.header("x-changed")), ("ok", "new"));
    assert_eq!((answer.headers.contains_key("x-removed"), added(&answer)), (false, 1));
}

#[tokio::test]
async fn filters_further_out_see_them() {
    let (origin, _requests) = Origin::canned(OK).await;
    let answer = through(&origin, &["\"deliver\"", CHANGE, "{ run = \"inner\" }", CHANGE]).await;
    assert_eq!((answer.header("x-ran"), added(&answer)), ("inner", 2));
    assert_eq!((answer.header("x-changed"), answer.text()), ("new", "replaced"));
}

#[tokio::test]
async fn they_are_made_to_what_an_inner_filter_or_the_host_answers() {
    let (origin, _requests) = Origin::canned(OK).await;
    let answer = through(&origin, &[CHANGE, "\"respond\""]).await;
    assert_eq!((answer.outcome(), answer.header("x-own"), added(&answer)), ((418, ""), "1", 1));

    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.reset();
    })
    .await;
    let answer = through(&origin, &[CHANGE]).await;
    assert_eq!((answer.outcome(), added(&answer)), ((502, "reset"), 1));
}

#[tokio::test]
async fn they_are_made_once_however_often_the_request_runs() {
    let origin = Origin::raw(|mut wire, connection| async move {
        while wire.head().await.is_some() {
            let fails = connection < 3;
            wire.send(if fails { "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" } else { OK })
                .await;
        }
    })
    .await;
    let answer = through(&origin, &["{ replay = 3 }", CHANGE]).await;
    assert_eq!((answer.outcome(), answer.header("x-attempt"), added(&answer)), ((200, ""), "3", 1));
}

#[tokio::test]
async fn those_that_would_break_the_message_are_faults_at_once() {
    for change in ["content-length = \"3\"", "connection = \"close\"", "x-a = \"b\\r\\nx-c: d\"", "\"x a\" = \"b\""] {
        let (origin, mut requests) = Origin::canned(OK).await;
        let answer = through(&origin, &[&format!("{{ ahead = {{ {change} }} }}")]).await;
        assert_eq!(answer.outcome(), (503, "filter-fault"), "{change}");
        assert!(requests.try_recv().is_err(), "{change}");
    }
}
