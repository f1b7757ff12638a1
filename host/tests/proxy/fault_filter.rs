//! The bundled filter `fault` in the proxy.

use std::time::{Duration, Instant};

use http::{HeaderValue, header::CONTENT_TYPE};

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, full, get, post, soon, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// With the filter under a name of its own: the proxies of one process share their metrics.
fn proxy(origin: &Origin, name: &str, config: &str) -> Proxy {
    Proxy::start(&format!(
        "{ROUTE}filters = [\"{name}\"]\n[filters.{name}]\nmodule = \"builtin:fault\"\nlimits = {{ cpu_per_call = \"2s\" }}\n\
         [filters.{name}.config]\n{config}\n{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

#[tokio::test]
async fn fault_delays_and_aborts_the_requests_that_ask_for_it() {
    let (origin, mut received) = Origin::canned(OK).await;
    let config = "delay = { duration = \"120ms\", headers = { x-fault = \"delay\" } }\n\
                  abort = { status = 500, body = \"no luck\", headers = { x-fault = \"abort\" } }";
    let proxy = proxy(&origin, "asked-for", config);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let exchange = async |fault: &'static str| {
            let mut request = post("/", full("content"));
            request.headers_mut().insert("x-fault", HeaderValue::from_static(fault));
            let began = Instant::now();
            (client.exchange(request).await, began.elapsed())
        };
        assert_eq!(exchange("none").await.0.text(), "ok");
        assert_eq!(received.recv().await.unwrap().text(), "content");
        let (answer, took) = exchange("delay").await;
        assert!(answer.text() == "ok" && took >= Duration::from_millis(120), "{took:?}");
        assert_eq!(received.recv().await.unwrap().text(), "content");
        let (answer, _) = exchange("abort").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (500, "no luck"));
        assert!(received.try_recv().is_err());
    }
    let metrics = Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/metrics").await;
    for fault in ["delay", "abort"] {
        let series = |line: &&str| {
            line.contains("fault_injected_total{filter=\"asked-for\"") && line.contains(&format!("fault=\"{fault}\""))
        };
        let line = metrics.text().lines().find(series).unwrap_or_else(|| panic!("{fault}: {}", metrics.text()));
        assert!(line.ends_with(" 2"), "{line}");
    }
}

#[tokio::test]
async fn fault_answers_grpc_in_its_own_way() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = proxy(&origin, "grpc", "abort = { grpc_status = 14 }");
    let client = Client::to(&proxy, Protocol::Http2).await;
    let mut request = post("/orders.Orders/List", full("message"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let answer = client.exchange(request).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status"), answer.body.len()), (200, "14", 0));
    assert_eq!(client.exchange(get("/")).await.status, 503);
}

#[tokio::test]
async fn fault_is_called_once_for_a_request_outside_the_share() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = proxy(&origin, "outside", "delay = { duration = \"10s\", percent = 0 }\nabort = { percent = 0.0 }");
    let client = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    let calls = async || {
        let metrics = admin.get("/metrics").await;
        let of_this = |line: &&str| line.starts_with("meshup_filter_calls_total{filter=\"outside\"");
        let line = metrics.text().lines().find(of_this).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).unwrap_or_default()
    };
    let counted = soon("the calls", async {
        loop {
            match calls().await {
                0..5 => {}
                counted => return counted,
            }
        }
    });
    assert_eq!(counted.await, 5);
}
