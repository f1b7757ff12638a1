//! The case of an upstream whose responses can be read in two ways: refused or framed anew, and its connection never
//! used again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::Method;

use crate::support::{Client, Origin, Protocol, Proxy, Wire, eventually, get};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

/// An origin that answers the first request with `response` and a response that nobody asked for, and later ones well;
/// and how many requests came on a connection that had carried one.
async fn once(response: String) -> (Origin, Arc<AtomicUsize>) {
    let again = Arc::<AtomicUsize>::default();
    let counted = again.clone();
    let origin = Origin::raw(move |mut wire, number| {
        let (response, counted) = (response.clone(), counted.clone());
        async move {
            wire.head().await;
            wire.try_send(if number == 1 { format!("{response}{SMUGGLED}") } else { OK.into() }).await;
            if number == 1 && wire.head().await.is_some() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (origin.await, again)
}

/// The status and body that `method` gets for the first response; a second request must get its own.
async fn through(method: &Method, response: &str) -> (u16, String) {
    let (origin, again) = once(response.into()).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut request = get("/first");
    *request.method_mut() = method.clone();
    let first = Client::to(&proxy, Protocol::Http1).await.exchange(request).await;
    let second = Client::to(&proxy, Protocol::Http1).await.get("/second").await;
    assert_eq!((second.outcome().0, second.text()), (200, "ok"), "after {response:?}");
    assert_eq!(again.load(Ordering::SeqCst), 0, "{response:?}: the connection is used again");
    (first.status.as_u16(), first.text().into())
}

#[tokio::test]
async fn case_16_responses_with_two_framings() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        "garbage\r\n\r\n",
    ] {
        assert_eq!(through(&Method::GET, head).await.0, 502, "{head:?}");
    }
}

#[tokio::test]
async fn case_16_bodies_where_none_may_be() {
    let get = Method::GET;
    for (method, response, status) in [
        (&get, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204),
        (&get, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 204),
        (&get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", 304),
        (&Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200),
        (&Method::HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200),
    ] {
        assert_eq!(through(method, response).await, (status, String::new()), "{method} {response:?}");
    }
}

#[tokio::test]
async fn case_16_extra_bytes_behind_a_response() {
    for response in [OK, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] {
        assert_eq!(through(&Method::GET, response).await, (200, "ok".into()), "{response:?}");
    }
    assert_eq!(through(&Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await, (200, String::new()));
}

#[tokio::test]
async fn case_16_a_response_before_the_request() {
    let say = Arc::new(tokio::sync::Notify::new());
    let told = say.clone();
    let origin = Origin::raw(move |mut wire: Wire, number| {
        let told = told.clone();
        async move {
            wire.head().await;
            wire.try_send(OK).await;
            if number == 1 {
                told.notified().await;
                wire.try_send(SMUGGLED).await;
                wire.rest().await;
            }
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(client.get("/first").await.text(), "ok");
    say.notify_one();
    eventually("the idle connection is closed", || origin.open() == 0).await;
    assert_eq!(client.get("/second").await.text(), "ok");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn case_16_a_chunked_response_that_goes_wrong_never_ends_cleanly() {
    for body in ["5\r\nhelloworld\r\n0\r\n\r\n", "5\r\nhello\r\nxyz\r\n", "-1\r\n", "fffffffffffffffff\r\n", "5\r\nhel"]
    {
        let origin = Origin::raw(move |mut wire, _| async move {
            wire.head().await;
            wire.try_send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
        })
        .await;
        let proxy = Proxy::before(&origin, Protocol::Http1);
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let got = String::from_utf8(wire.rest().await).unwrap();
        assert!(!got.ends_with("0\r\n\r\n"), "{body:?}: {got}");
    }
}
