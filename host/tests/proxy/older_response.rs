//! A filter that runs twice and returns the first response, whose body went when it ran again.

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, filter, upstream};

async fn returning_first(response: &'static str) -> (u16, String, String) {
    let (origin, _received) = Origin::canned(response).await;
    let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}filters = [\"f\"]\n{}{upstream}", filter("f", "\"return-first\"")));
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    (answer.status.as_u16(), answer.header("x-meshup-error").to_owned(), answer.header("x-origin").to_owned())
}

#[tokio::test]
async fn a_response_without_its_body_is_a_fault() {
    let ended = returning_first("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Origin: 1\r\n\r\nok").await;
    assert_eq!(ended, (503, "filter-fault".into(), String::new()));
}

#[tokio::test]
async fn a_response_that_never_had_a_body_is_answered() {
    let ended = returning_first("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Origin: 1\r\n\r\n").await;
    assert_eq!(ended, (200, String::new(), "1".into()));
}
