//! The bundled filter `cors` in the proxy.

use http::{HeaderValue, Method, Request};

use crate::support::{Body, Client, Origin, Protocol, Proxy, ROUTE, get, upstream};

const APP: &str = "https://app.example";
const SHARED: &str = "HTTP/1.1 200 OK\r\nVary: Accept-Encoding\r\nAccess-Control-Allow-Origin: *\r\n\
                      Access-Control-Max-Age: 5\r\nContent-Length: 2\r\n\r\nok";

fn proxy(origin: &Origin) -> Proxy {
    Proxy::start(&format!(
        "{ROUTE}filters = [\"cors\"]\n[filters.cors]\nmodule = \"builtin:cors\"\nlimits = {{ cpu_per_call = \"2s\" }}\n\
         [filters.cors.config]\norigins = [\"{APP}\", \"https://*.app.example\"]\nmethods = [\"GET\", \"PUT\"]\n\
         headers = [\"content-type\"]\ncredentials = true\nmax_age = \"10m\"\n{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

fn options(fields: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = get("/orders");
    *request.method_mut() = Method::OPTIONS;
    for (name, value) in fields {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request
}

#[tokio::test]
async fn cors_answers_preflight_requests_and_passes_other_options() {
    let (origin, mut received) = Origin::canned(SHARED).await;
    let proxy = proxy(&origin);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let preflight = options(&[("origin", "https://a.app.example"), ("access-control-request-method", "PUT")]);
        let answer = client.exchange(preflight).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        for (name, value) in [
            ("access-control-allow-origin", "https://a.app.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "content-type"),
            ("access-control-max-age", "600"),
            ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        let evil = options(&[("origin", "https://evil.example"), ("access-control-request-method", "PUT")]);
        let answer = client.exchange(evil).await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (204, ""));
        assert!(received.try_recv().is_err());
        assert_eq!(client.exchange(options(&[("origin", APP)])).await.text(), "ok");
        assert!(received.recv().await.unwrap().start.starts_with("OPTIONS /orders"));
    }
}

#[tokio::test]
async fn cors_replaces_what_the_upstream_says_and_keeps_its_vary() {
    let (origin, _received) = Origin::canned(SHARED).await;
    let proxy = proxy(&origin);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        for (from, allowed) in [(APP, APP), ("https://evil.example", ""), ("null", "")] {
            let mut request = get("/");
            request.headers_mut().insert("origin", HeaderValue::from_static(from));
            let answer = client.exchange(request).await;
            assert_eq!((answer.text(), answer.header("access-control-allow-origin")), ("ok", allowed));
            assert_eq!(answer.header("access-control-max-age"), "");
            let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
            assert_eq!(vary, ["Accept-Encoding", "Origin"]);
        }
    }
}
