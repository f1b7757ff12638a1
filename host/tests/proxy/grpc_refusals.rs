//! What the proxy answers itself to gRPC calls: the status of a call, among the headers, with the reason beside it.

use http::{HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};

use super::limits::refused;
use crate::support::{
    Answer, Body, Client, Origin, Protocol, Proxy, ROUTE, Refusing, filter, full, get, post, upstream,
};

fn call(path: &str) -> Request<Body> {
    let mut request = post(path, full("\0\0\0\0\0"));
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
    request
}

/// What a gRPC client reads of an answer: its status and reason; and the proxy's name for it.
fn outcome(answer: &Answer) -> (&str, &str) {
    let (status, error) = answer.outcome();
    let form = (status, answer.header("content-type"), answer.body.len(), &answer.trailers);
    assert_eq!(form, (200, "application/grpc", 0, &None), "{answer:?}");
    assert!(!answer.header("grpc-message").is_empty(), "{answer:?}");
    (answer.header("grpc-status"), error)
}

/// A proxy of these limits and routes, before what answers anything.
fn proxy(limits: &str, rest: &str) -> Proxy {
    Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\nlimits = {{ {limits} }}\n{rest}"
    ))
}

async fn silent() -> Origin {
    Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await
}

#[tokio::test]
async fn case_42_refusals_have_the_status_of_a_call() {
    let (origin, refusing) = (silent().await, Refusing::new());
    let routes = format!(
        "[[routes]]\nmatch = {{ path_prefix = \"/gone\" }}\nupstream = \"gone\"\n\
         [[routes]]\nmatch = {{ path_prefix = \"/silent\" }}\nupstream = \"origin\"\ntimeout = \"100ms\"\n{}{}",
        upstream("origin", Protocol::Http2, &[origin.address]),
        upstream("gone", Protocol::Http2, &[refusing.address]),
    );
    let proxy = proxy("max_header_bytes = \"8KiB\", max_body_bytes = 4", &routes);
    let client = Client::to(&proxy, Protocol::Http2).await;
    let mut large = call("/silent");
    large.headers_mut().insert("x-large", HeaderValue::from_bytes(&[b'x'; 9000]).unwrap());
    for (request, status, name) in [
        (call("/nowhere"), "12", "no-route"),
        (call("/silent/%2f"), "13", "bad-request"),
        (large, "8", "headers-too-large"),
        (call("/silent"), "8", "body-too-large"),
    ] {
        assert_eq!(outcome(&client.exchange(request).await), (status, name));
        refused(&proxy, name, 1).await;
    }
    for (path, status, name) in [("/gone", "14", "connect-failure"), ("/silent", "4", "timeout")] {
        let mut request = call(path);
        *request.body_mut() = full("");
        assert_eq!(outcome(&client.exchange(request).await), (status, name));
        refused(&proxy, name, 1).await;
    }
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    let metrics = admin.get("/metrics").await;
    for counted in ["route=\"\",status=\"404\"", "status=\"413\"", "status=\"503\"", "status=\"504\""] {
        assert!(metrics.text().contains(counted), "{counted}: {}", metrics.text());
    }
    assert!(!metrics.text().contains("status=\"200\""), "{}", metrics.text());
}

#[tokio::test]
async fn case_42_refusals_of_filters_have_it_too() {
    let origin = Origin::http(Protocol::Http2, |_| async { Response::new(full("ok")) }).await;
    let upstream = upstream("origin", Protocol::Http2, &[origin.address]);
    let route = |action: &str| format!("[[routes]]\nfilters = [\"f\"]\nupstream = \"origin\"\n{}", filter("f", action));
    let proxy = Proxy::start(&format!("{}{upstream}", route("\"respond\"")));
    let client = Client::to(&proxy, Protocol::Http2).await;
    let answer = client.exchange(call("/")).await;
    assert_eq!(outcome(&answer), ("2", ""));
    assert_eq!((answer.header("grpc-message"), answer.header("x-own")), ("teapot", "1"));
    let plain = client.get("/").await;
    assert_eq!((plain.status.as_u16(), plain.text()), (418, "teapot"), "what is not gRPC");
}

#[tokio::test]
async fn case_42_a_filter_that_faults_makes_the_service_unavailable() {
    let origin = Origin::http(Protocol::Http2, |_| async { Response::new(full("ok")) }).await;
    let config = format!(
        "[[routes]]\nfilters = [\"f\"]\nupstream = \"origin\"\n{}{}",
        upstream("origin", Protocol::Http2, &[origin.address]),
        filter("f", "\"panic-on-response\"")
    );
    let proxy = Proxy::start(&config);
    let client = Client::to(&proxy, Protocol::Http2).await;
    assert_eq!(outcome(&client.exchange(call("/")).await), ("14", "filter-fault"));
}

#[tokio::test]
async fn case_42_what_is_not_grpc_is_refused_as_ever() {
    let refusing = Refusing::new();
    let proxy = Proxy::start(&format!("{ROUTE}{}", upstream("origin", Protocol::Http2, &[refusing.address])));
    let client = Client::to(&proxy, Protocol::Http2).await;
    for content_type in ["application/grpc-web", "application/json"] {
        let mut request = call("/");
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let answer = client.exchange(request).await;
        assert_eq!(answer.outcome(), (503, "connect-failure"), "{content_type}");
        assert!(!answer.headers.contains_key(HeaderName::from_static("grpc-status")), "{content_type}");
    }
    let http1 = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(http1.exchange(call("/")).await.outcome(), (503, "connect-failure"), "no gRPC without HTTP/2");
    assert_eq!(client.exchange(get("/")).await.outcome(), (503, "connect-failure"));
}

#[tokio::test]
async fn case_42_errors_of_the_service_itself_are_its_own() {
    let origin = Origin::http(Protocol::Http2, |_| async {
        let mut response = Response::new(full("out of order"));
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        response
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http2);
    let answer = Client::to(&proxy, Protocol::Http2).await.exchange(call("/")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (503, "out of order"));
}
