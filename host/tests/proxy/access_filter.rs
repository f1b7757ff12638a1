//! The bundled filter `access` in the proxy.

use http::{HeaderValue, Request};

use crate::{
    bundled,
    support::{Body, Client, Origin, Protocol, Proxy, ROUTE, empty, get, soon, upstream},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const RULES: &str = r#"
rules = [
    { name = "no-admin", action = "deny", path_prefix = "/admin" },
    { name = "reads", action = "allow", methods = ["GET", "HEAD"], path_prefix = "/orders", clients = "127.0.0.0/8" },
    { name = "team", action = "allow", path = "/team", headers = { x-team = "tea" } },
    { name = "elsewhere", action = "allow", clients = "192.0.2.0/24" },
    { name = "peers", action = "allow", peer = true },
]
"#;

fn request(method: &str, path: &str, team: &'static str) -> Request<Body> {
    let mut request = get(path);
    *request.method_mut() = method.parse().unwrap();
    request.headers_mut().insert("x-team", HeaderValue::from_static(team));
    request
}

/// A proxy with the filter under a name of its own: the proxies of one process share their metrics.
fn named(origin: &Origin, name: &str, config: &str) -> Proxy {
    Proxy::start(&format!(
        "{ROUTE}filters = [\"{name}\"]\n[filters.{name}]\nmodule = \"builtin:access\"\n[filters.{name}.config]\n{config}\n{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

/// The lines of the filter's metric that the admin listener shows, once there are so many.
async fn decisions(proxy: &Proxy, name: &str, lines: usize) -> Vec<String> {
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    soon("the metric", async {
        loop {
            let metrics = admin.get("/metrics").await;
            let counter = |line: &&str| line.contains(&format!("access_decisions_total{{filter=\"{name}\""));
            let found: Vec<_> = metrics.text().lines().filter(counter).map(str::to_owned).collect();
            if found.len() >= lines {
                return found;
            }
        }
    })
    .await
}

#[tokio::test]
async fn access_decides_by_the_first_rule_that_holds() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = named(&origin, "decides", RULES);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        for (method, path, team) in [("GET", "/orders/7?x=/admin", "x"), ("GET", "/team", "tea")] {
            assert_eq!(client.exchange(request(method, path, team)).await.status, 200, "{method} {path}");
            assert_eq!(received.recv().await.unwrap().start, format!("GET {path} HTTP/1.1"));
        }
        for (method, path, team) in [
            ("DELETE", "/orders/7", "x"),
            ("GET", "/team", "coffee"),
            ("GET", "/", "tea"),
            ("GET", "/admin/users", "tea"),
            ("GET", "/%61dmin/users", "tea"),
        ] {
            let answer = client.exchange(request(method, path, team)).await;
            assert_eq!(answer.status, 403, "{method} {path}");
            assert_eq!(answer.text(), "{\"error\":\"forbidden\",\"message\":\"access denied\"}\n");
        }
        assert!(received.try_recv().is_err());
    }
    let decisions = decisions(&proxy, "decides", 4).await;
    for (rule, decision) in [("reads", "allow"), ("team", "allow"), ("no-admin", "deny"), ("default", "deny")] {
        let labels = |line: &&String| {
            line.contains(&format!("rule=\"{rule}\"")) && line.contains(&format!("decision=\"{decision}\""))
        };
        assert!(decisions.iter().any(|line| labels(&line)), "{rule}: {decisions:?}");
    }
}

#[tokio::test]
async fn access_is_not_led_around_its_rules_by_odd_paths() {
    let (origin, mut received) = Origin::canned(OK).await;
    let config = "default = \"allow\"\nrules = [{ action = \"deny\", path_prefix = \"/admin\" }]";
    let proxy = bundled::proxy(&origin, "access", config);
    for protocol in Protocol::BOTH {
        for path in [
            "/admin",
            "/%61dmin",
            "//admin",
            "/./admin",
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/x/..;/admin",
            "/%2fadmin",
            "/x/..%2fadmin",
            "/x%5c..%5cadmin",
            "/admin%00",
            "/%c0%afadmin",
        ] {
            // What the proxy refuses by itself ends the connection.
            let status = Client::to(&proxy, protocol).await.get(path).await.status.as_u16();
            assert!(matches!(status, 400 | 403), "{path}: {status}");
        }
        assert!(received.try_recv().is_err());
        assert_eq!(Client::to(&proxy, protocol).await.get("/administrators").await.status, 200);
        assert_eq!(received.recv().await.unwrap().start, "GET /administrators HTTP/1.1");
    }
}

#[tokio::test]
async fn access_knows_who_the_filters_before_it_let_in() {
    let (origin, mut received) = Origin::canned(OK).await;
    // The digests of "a" and "b".
    let config = r#"filters = ["keys", "access"]
        [filters.keys]
        module = "builtin:api-key"
        limits = { cpu_per_call = "2s" }
        [filters.keys.config.keys]
        alice = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
        bob = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
        [filters.access]
        module = "builtin:access"
        limits = { cpu_per_call = "2s" }
        config = { rules = [{ action = "allow", variables = { "api_key.identity" = ["alice", "carol"] } }] }
    "#;
    let proxy = Proxy::start(&format!("{ROUTE}{config}{}", upstream("origin", Protocol::Http1, &[origin.address])));
    let client = Client::to(&proxy, Protocol::Http1).await;
    for (key, status) in [("a", 200), ("b", 403), ("c", 401)] {
        let request = Request::builder().uri("/").header("host", "test.example").header("x-api-key", key);
        let request = request.header("x-api-key-identity", "alice").body(empty()).unwrap();
        assert_eq!(client.exchange(request).await.status, status, "{key}");
    }
    assert_eq!(received.recv().await.unwrap().field("x-api-key-identity"), Some("alice"));
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn access_lets_everything_pass_in_a_dry_run() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = named(&origin, "dry-run", &format!("dry_run = true\n{RULES}"));
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(client.get("/admin").await.status, 200);
    assert_eq!(client.get("/").await.status, 200);
    let decisions = decisions(&proxy, "dry-run", 2).await;
    assert!(decisions.iter().all(|line| line.contains("decision=\"dry-run-deny\"")), "{decisions:?}");
}
