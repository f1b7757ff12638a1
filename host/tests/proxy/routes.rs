//! Which route a request takes, end to end.

use http::{HeaderValue, Method};

use crate::support::{Client, Origin, Protocol, Proxy, get, upstream};

const ROUTES: &str = r#"
workers = 1
[[listeners]]
name = "front"
listen = "127.0.0.1:0"
[[listeners]]
name = "back"
listen = "127.0.0.2:0"

[[routes]]
match = { listener = "back" }
upstream = "listener"
[[routes]]
match = { host = "exact.example" }
upstream = "host"
[[routes]]
match = { host = ["*.wild.example", "other.example"] }
upstream = "suffix"
[[routes]]
match = { path = "/exact" }
upstream = "path"
[[routes]]
match = { path_prefix = "/v1", methods = ["PUT", "PATCH"] }
upstream = "method"
[[routes]]
match = { path_prefix = "/v1", headers = { x-canary = "1" } }
upstream = "header"
[[routes]]
match = { path_prefix = "/v1", query = { beta = "yes" } }
upstream = "query"
[[routes]]
match = { path_prefix = "/v1" }
upstream = "prefix"
"#;
const UPSTREAMS: [&str; 8] = ["listener", "host", "suffix", "path", "method", "header", "query", "prefix"];

/// An origin per upstream that answers with the upstream's name.
async fn origins() -> (String, Vec<Origin>) {
    let mut config = ROUTES.to_owned();
    let mut origins = Vec::new();
    for name in UPSTREAMS {
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        let (origin, _received) = Origin::canned(response.leak()).await;
        config += &upstream(name, Protocol::Http1, &[origin.address]);
        origins.push(origin);
    }
    (config, origins)
}

#[tokio::test]
async fn the_first_route_whose_conditions_all_hold_is_taken() {
    let (config, _origins) = origins().await;
    let proxy = Proxy::start(&config);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        for (method, host, path, canary, expected) in [
            ("GET", "exact.example", "/exact", "1", "host"),
            ("GET", "EXACT.example:8080", "/", "", "host"),
            ("GET", "a.wild.example", "/", "", "suffix"),
            ("GET", "a.b.wild.example", "/", "", "suffix"),
            ("GET", "other.example", "/", "", "suffix"),
            ("GET", "wild.example", "/exact?a=b", "", "path"),
            ("PATCH", "a", "/v1", "1", "method"),
            ("GET", "a", "/v1/x", "1", "header"),
            ("GET", "a", "/v1/x?a=b&beta=yes", "2", "query"),
            ("GET", "a", "/v1?beta=no", "", "prefix"),
            ("GET", "a", "/v10", "1", ""),
            ("GET", "a", "/exact/", "", ""),
        ] {
            let mut request = get(path);
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            request.headers_mut().insert("host", HeaderValue::from_static(host));
            request.headers_mut().insert("x-canary", HeaderValue::from_static(canary));
            let answer = client.exchange(request).await;
            let outcome = if answer.outcome() == (404, "no-route") { "" } else { answer.text() };
            assert_eq!(outcome, expected, "{protocol:?} {method} {host}{path}");
        }
    }
}

#[tokio::test]
async fn a_route_may_be_for_one_listener_only() {
    let (config, _origins) = origins().await;
    let proxy = Proxy::start(&config);
    let back = proxy.app().listeners()[1].1;
    let answer = Client::connect(Protocol::Http1, back).await.get("/v1").await;
    assert_eq!(answer.text(), "listener");
}
