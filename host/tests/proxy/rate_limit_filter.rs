//! The bundled filter `rate-limit` in the proxy.

use http::{HeaderValue, Request, Response};
use tokio::task::JoinSet;

use crate::{
    bundled,
    support::{Answer, Body, Client, Origin, Protocol, Proxy, ROUTE, full, get, upstream},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRateLimit-Limit: 9\r\n\r\nok";

fn as_user(user: &'static str) -> Request<Body> {
    let mut request = get("/");
    request.headers_mut().insert("x-user", HeaderValue::from_static(user));
    request
}

/// Status, and what is told of the limit.
fn told(answer: &Answer) -> (u16, [&str; 4]) {
    let names = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
    (answer.status.as_u16(), names.map(|name| answer.header(name)))
}

#[tokio::test]
async fn rate_limit_counts_each_key_and_tells_of_the_limit() {
    let (origin, mut received) = Origin::canned(OK).await;
    for protocol in Protocol::BOTH {
        let config =
            "limit = 1\nper = \"24h\"\nburst = 2\nkey = [\"client\", \"header.x-user\"]\nheaders_on_passed = true";
        let proxy = bundled::proxy(&origin, "rate-limit", config);
        let client = Client::to(&proxy, protocol).await;
        assert_eq!(told(&client.exchange(as_user("a")).await), (200, ["2", "1", "86400", ""]));
        let last = client.exchange(as_user("a")).await;
        let (status, [limit, remaining, ..]) = told(&last);
        assert_eq!((status, limit, remaining), (200, "2", "0"));
        let refused = client.exchange(as_user("a")).await;
        let (status, [limit, remaining, ..]) = told(&refused);
        assert_eq!((status, limit, remaining), (429, "2", "0"));
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((86_000..=86_400).contains(&wait), "{wait}");
        assert_eq!(refused.text(), "{\"error\":\"too-many-requests\",\"message\":\"the rate limit is exceeded\"}\n");
        assert_eq!(client.exchange(as_user("b")).await.status, 200);
        assert_eq!(client.get("/").await.status, 200);
        for _ in 0..4 {
            received.recv().await.unwrap();
        }
        assert!(received.try_recv().is_err());
    }
}

#[tokio::test]
async fn rate_limit_leaves_what_passes_alone() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = bundled::proxy(&origin, "rate-limit", "limit = 1\nper = \"24h\"\nheaders = \"draft\"");
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(told(&client.get("/").await), (200, ["9", "", "", ""]));
    let refused = client.get("/").await;
    assert_eq!((refused.status.as_u16(), refused.header("ratelimit-policy")), (429, "\"default\";q=1;w=86400"));
    assert!(refused.header("ratelimit").starts_with("\"default\";r=0;t="));
}

/// Many connections, so that both workers have some of them, and every request races the others for the last tokens.
#[tokio::test]
async fn rate_limit_passes_exactly_the_burst_on_all_workers_together() {
    const BURST: usize = 1_000;
    const CONNECTIONS: usize = 32;
    const REQUESTS: usize = 40;
    let origin = Origin::http(Protocol::Http1, async |_| Response::new(full("ok"))).await;
    let config = format!(
        "workers = 2\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{ROUTE}filters = [\"limit\"]\n\
         [filters.limit]\nmodule = \"builtin:rate-limit\"\nlimits = {{ cpu_per_call = \"2s\" }}\n\
         config = {{ limit = {BURST}, per = \"24h\" }}\n{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    );
    let proxy = Proxy::start(&config);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::to(&proxy, Protocol::Http1).await);
    }
    let all: JoinSet<usize> = clients.into_iter().map(|client| passed(client, REQUESTS)).collect();
    let passed: usize = all.join_all().await.into_iter().sum();
    assert_eq!((passed, origin.requests()), (BURST, BURST));
}

/// How many of a client's requests pass.
async fn passed(client: Client, requests: usize) -> usize {
    let mut passed = 0;
    for _ in 0..requests {
        match client.get("/").await.status.as_u16() {
            200 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }
    passed
}

#[tokio::test]
async fn rate_limit_only_counts_in_a_dry_run() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = bundled::proxy(&origin, "rate-limit", "limit = 1\nper = \"24h\"\ndry_run = true");
    let client = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }
}
