//! The bundled filter `ext-authz` in the proxy.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::support::{Body, Client, Origin, Protocol, Proxy, ROUTE, Refusing, empty, full, get, post, soon, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 2\r\n\r\nok";

fn proxy(origin: &Origin, service: SocketAddr, config: &str) -> Proxy {
    Proxy::start(&format!(
        "{ROUTE}filters = [\"authz\"]\n[filters.authz]\nmodule = \"builtin:ext-authz\"\n\
         limits = {{ cpu_per_call = \"2s\" }}\n[filters.authz.config]\nupstream = \"authz\"\n{config}\n{}{}",
        upstream("authz", Protocol::Http1, &[service]),
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

/// Allows those who bring a cookie `user=NAME`, and says who they are.
async fn by_cookie(request: Request<Incoming>) -> Response<Body> {
    let user = request.headers().get("cookie").and_then(|cookie| cookie.to_str().ok()?.strip_prefix("user="));
    let uri = request.headers().get("x-forwarded-uri").cloned().unwrap_or(HeaderValue::from_static("none"));
    match user {
        Some(user) => Response::builder()
            .status(202)
            .header("x-user", user)
            .header("x-asked", uri)
            .header("set-cookie", format!("session={user}"))
            .body(empty())
            .unwrap(),
        None => Response::builder()
            .status(302)
            .header("location", "https://login.example/")
            .header("set-cookie", "csrf=1")
            .header("x-internal", "1")
            .body(full("sign in"))
            .unwrap(),
    }
}

fn with_cookie(path: &str, user: &str) -> Request<Body> {
    let mut request = post(path, full("content"));
    request.headers_mut().insert("cookie", HeaderValue::from_str(&format!("user={user}")).unwrap());
    request.headers_mut().insert("x-user", HeaderValue::from_static("root"));
    request
}

#[tokio::test]
async fn ext_authz_passes_what_the_service_allows_and_hands_over_what_it_says() {
    let (origin, mut received) = Origin::canned(OK).await;
    let service = Origin::http(Protocol::Http1, by_cookie).await;
    let config = "path = \"/check\"\nto_upstream = [\"x-user\", \"x-asked\"]\nto_client = [\"set-cookie\"]";
    let proxy = proxy(&origin, service.address, config);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let answer = client.exchange(with_cookie("/orders?id=1", "alice")).await;
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["own=1", "session=alice"]);
        assert_eq!(answer.text(), "ok");
        let request = received.recv().await.unwrap();
        assert_eq!((request.field("x-user"), request.field("x-asked")), (Some("alice"), Some("/orders?id=1")));
        assert_eq!(request.text(), "content");
    }
}

#[tokio::test]
async fn ext_authz_denies_with_the_services_own_answer() {
    let (origin, mut received) = Origin::canned(OK).await;
    let service = Origin::http(Protocol::Http1, by_cookie).await;
    let proxy = proxy(&origin, service.address, "path = \"/check\"");
    for protocol in Protocol::BOTH {
        let answer = Client::to(&proxy, protocol).await.exchange(post("/", full("content"))).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (302, "sign in"));
        let headers = ["location", "set-cookie", "x-internal"].map(|name| answer.header(name));
        assert_eq!(headers, ["https://login.example/", "csrf=1", ""]);
        assert!(received.try_recv().is_err());
    }
}

#[tokio::test]
async fn ext_authz_asks_as_envoy_does_below_a_prefix() {
    let (origin, _received) = Origin::canned(OK).await;
    let (service, mut asked) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = proxy(&origin, service.address, "path_prefix = \"/authz\"");
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        assert_eq!(client.exchange(post("/orders?id=1", full("content"))).await.text(), "ok");
        let question = asked.recv().await.unwrap();
        assert_eq!(question.start, "POST /authz/orders?id=1 HTTP/1.1");
        assert_eq!((question.field("host"), question.body.len()), (Some("test.example"), 0));
        assert_eq!(question.field("x-forwarded-method"), Some("POST"));
        assert_eq!(question.field("x-original-url"), Some("http://test.example/orders?id=1"));
    }
}

#[tokio::test]
async fn ext_authz_fails_closed_unless_it_is_told_otherwise() {
    let (origin, mut received) = Origin::canned(OK).await;
    let refusing = Refusing::new();
    let hanging = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    let (failing, _asked) = Origin::canned("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops").await;
    for service in [refusing.address, hanging.address, failing.address] {
        let config = "path = \"/check\"\ntimeout = \"200ms\"\nto_upstream = [\"x-user\"]";
        let closed = proxy(&origin, service, config);
        let answer = Client::to(&closed, Protocol::Http1).await.exchange(with_cookie("/", "alice")).await;
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains("authorization-unavailable"), "{}", answer.text());
        assert!(received.try_recv().is_err());
        let open = proxy(&origin, service, &format!("{config}\non_failure = \"allow\""));
        let answer = Client::to(&open, Protocol::Http1).await.exchange(with_cookie("/", "alice")).await;
        assert_eq!(answer.text(), "ok");
        assert_eq!(received.recv().await.unwrap().field("x-user"), None);
    }
}

#[tokio::test]
async fn ext_authz_keeps_exchanges_apart() {
    const MANY: usize = 40;
    // The service answers the first question only when all have been asked, so that all of them wait at once.
    let asked = Arc::new(Semaphore::new(0));
    let service = {
        let asked = Arc::clone(&asked);
        Origin::http(Protocol::Http1, move |request| {
            let asked = Arc::clone(&asked);
            async move {
                asked.add_permits(1);
                drop(asked.acquire_many(MANY as u32).await.unwrap());
                by_cookie(request).await
            }
        })
    }
    .await;
    let origin = Origin::http(Protocol::Http1, |request: Request<Incoming>| async move {
        let user = request.headers().get("x-user").unwrap().to_str().unwrap().to_owned();
        Response::new(full(format!("{} {user}", request.uri())))
    })
    .await;
    let config = "path = \"/check\"\ntimeout = \"15s\"\nto_upstream = [\"x-user\"]\nto_client = [\"set-cookie\"]";
    let proxy = proxy(&origin, service.address, config);
    let client = Client::to(&proxy, Protocol::Http2).await;
    let exchanges = (0..MANY).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { client.exchange(with_cookie(&format!("/{n}"), &format!("user{n}"))).await })
    });
    for (n, exchange) in exchanges.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = soon("an exchange", exchange).await.unwrap();
        assert_eq!(
            (answer.text(), answer.header("set-cookie")),
            (&*format!("/{n} user{n}"), &*format!("session=user{n}"))
        );
    }
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.exchange(get("/")).await.status, 302);
}
