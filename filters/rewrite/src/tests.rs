//! The filter as a whole.

use meshup_sdk::testing::{self, Finished, Tester, json};

use super::*;

fn tester(config: impl Serialize) -> Tester {
    testing::filter(rewrite).config(config)
}

fn run(config: impl Serialize, req: Request) -> Finished {
    tester(config).run(req, |_| Response::new(200).with_header("server", "origin/1.0").with_body("hello"))
}

fn refusal(config: impl Serialize) -> String {
    tester(config).configure().unwrap_err()
}

#[test]
fn an_empty_configuration_changes_nothing() {
    let done = run(json!({}), Request::get("/a?b").with_header("x-a", "1"));
    assert!(done.passed);
    assert_eq!((done.sent[0].path.as_str(), done.sent[0].header("x-a")), ("/a?b", Some("1")));
    assert_eq!(done.header("server"), Some("origin/1.0"));
}

#[test]
fn the_path_is_rewritten_and_the_query_kept() {
    let done = run(json!({ "strip_prefix": "/v1", "path_prefix": "/" }), Request::get("/v1/orders?limit=1"));
    assert_eq!((done.passed, done.sent[0].path.as_str()), (true, "/orders?limit=1"));
    let regex = json!({ "path_regex": { "pattern": "^/v([0-9]+)/(.*)$", "replacement": "/$2/$1" } });
    let done = run(regex, Request::get("/v1/orders?limit=1"));
    assert_eq!(done.sent[0].path, "/orders/1?limit=1");
}

#[test]
fn a_path_prefix_alone_replaces_what_the_route_matched() {
    for (route, put, path, expected) in [
        (Some("/v1"), "/", "/v1/orders?limit=1", "/orders?limit=1"),
        (Some("/v1"), "/", "/v1", "/"),
        (Some("/v1"), "/v2", "/v1/orders", "/v2/orders"),
        (Some("/v1"), "/v1/", "/v1/orders", "/v1/orders"),
        (Some("/v1"), "/", "/changed/before", "/changed/before"),
        (Some("/"), "/api", "/orders", "/api/orders"),
        (Some("/"), "/", "/orders", "/orders"),
        (None, "/api", "/orders", "/api/orders"),
        (None, "/api", "/", "/api/"),
        (None, "/", "/orders", "/orders"),
    ] {
        let mut tester = tester(json!({ "path_prefix": put }));
        if let Some(prefix) = route {
            tester = tester.attribute(Attribute::RoutePrefix, prefix);
        }
        let done = tester.run(Request::get(path), |_| Response::new(200));
        assert_eq!(done.sent[0].path, expected, "{route:?} -> {put}: {path}");
    }
    let tester = tester(json!({ "strip_prefix": "/a", "path_prefix": "/b" }));
    let done = tester.attribute(Attribute::RoutePrefix, "/v1").run(Request::get("/a/v1"), |_| Response::new(200));
    assert_eq!(done.sent[0].path, "/b/v1");
}

#[test]
fn a_path_that_grows_too_long_is_answered() {
    let config = json!({ "path_regex": { "pattern": "a", "replacement": "aaaaaaaaaa" } });
    let done = run(config, Request::get(&format!("/{}", "a".repeat(9000))));
    assert_eq!((done.status(), done.sent.len()), (414, 0));
}

#[test]
fn host_and_request_headers_change() {
    let config = json!({
        "host": "orders.internal:8080",
        "request_headers": {
            "remove": ["X-Debug"],
            "set": { "X-Team": "tea", "x-old": "new" },
            "add": { "via": "1.1 meshup" },
        },
    });
    let req = Request::get("/").with_header("x-debug", "1").with_header("x-old", "old").with_header("via", "1.0 a");
    let done = run(config, req);
    let sent = &done.sent[0];
    assert!(done.passed);
    assert_eq!(sent.authority, "orders.internal:8080");
    assert_eq!((sent.header("x-debug"), sent.header("x-team"), sent.header("x-old")), (None, Some("tea"), Some("new")));
    let via: Vec<_> = sent.headers.iter().filter(|(name, _)| name == "via").map(|(_, value)| &value[..]).collect();
    assert_eq!(via, [&b"1.0 a"[..], b"1.1 meshup"]);
}

#[test]
fn response_headers_change_and_the_body_flows() {
    let config = json!({ "response_headers": { "remove": ["server"], "set": { "x-frame-options": "DENY" } } });
    let done = run(config, Request::get("/"));
    assert!(done.passed);
    assert_eq!((done.header("server"), done.header("x-frame-options")), (None, Some("DENY")));
    assert_eq!(done.text(), "hello");
}

#[test]
fn the_upstream_is_chosen_by_the_clients_header() {
    let mut config = json!({
        "upstream_by_header": { "header": "X-Canary", "values": { "1": "orders-next" } },
        "request_headers": { "remove": ["x-canary"] },
    });
    let chosen = |config: &_, value: &str| {
        run(config, Request::get("/").with_header("x-canary", value)).sent[0].upstream.clone()
    };
    assert_eq!(chosen(&config, "1").as_deref(), Some("orders-next"));
    assert_eq!(chosen(&config, "2"), None);
    config["upstream_by_header"]["default"] = json!("orders-old");
    assert_eq!(chosen(&config, "2").as_deref(), Some("orders-old"));
    assert_eq!(run(&config, Request::get("/")).sent[0].upstream.as_deref(), Some("orders-old"));
}

#[test]
fn redirects_name_an_absolute_url() {
    for (redirect, path, expected) in [
        (json!({ "scheme": "https" }), "/a?b=1", (302, "https://test.example/a?b=1")),
        (json!({ "scheme": "https", "port": 8443 }), "/", (302, "https://test.example:8443/")),
        (json!({ "scheme": "https", "port": 443 }), "/", (302, "https://test.example/")),
        (json!({ "host": "new.example", "status": 308 }), "/a", (308, "http://new.example/a")),
        (json!({ "port": 9000 }), "/a", (302, "http://test.example:9000/a")),
        (json!({ "path": "/b", "status": 301 }), "/a?c", (301, "http://test.example:8080/b?c")),
        (json!({ "path": "/b", "status": 307 }), "/a", (307, "http://test.example:8080/b")),
        (json!({ "host": "[::1]", "path": "/b", "status": 303 }), "/", (303, "http://[::1]/b")),
    ] {
        let req = Request::get(path).with_authority("test.example:8080");
        let done = run(json!({ "redirect": redirect }), req);
        assert_eq!((done.status(), done.header("location").unwrap()), expected);
        assert!(done.sent.is_empty());
    }
}

#[test]
fn redirects_follow_the_rewritten_path() {
    let config = json!({
        "strip_prefix": "/old",
        "path_prefix": "/new",
        "redirect": { "status": 301 },
        "response_headers": { "set": { "cache-control": "max-age=60" } },
    });
    let done = run(&config, Request::get("/old/a?b"));
    assert_eq!(done.header("location"), Some("http://test.example/new/a?b"));
    assert_eq!((done.status(), done.header("cache-control")), (301, Some("max-age=60")));
    let done = run(&config, Request::get("/new/a"));
    assert_eq!((done.status(), done.sent.len()), (200, 1));
}

#[test]
fn a_stripped_path_leads_to_no_other_host() {
    let config = json!({ "strip_prefix": "/old", "redirect": {} });
    let done = run(config, Request::get("/old//elsewhere.example"));
    assert_eq!(done.header("location"), Some("http://test.example//elsewhere.example"));
}

#[test]
fn a_request_that_is_there_is_not_redirected() {
    let config = json!({ "redirect": { "scheme": "http", "host": "test.example" } });
    let done = run(&config, Request::get("/a?b"));
    assert_eq!((done.status(), done.passed), (200, true));
    let done = run(&config, Request::get("/a?b").with_authority("test.example:80"));
    assert_eq!((done.status(), done.passed), (200, true));
    let done = run(json!({ "redirect": { "scheme": "https" } }), Request::new("OPTIONS", "*"));
    assert_eq!((done.status(), done.passed), (200, true));
}

#[test]
fn a_request_without_a_host_is_redirected_only_to_a_given_one() {
    let answered = |redirect| {
        let config = Config::deserialize(json!({ "redirect": redirect })).unwrap();
        config.redirected(&Request::get("/a"), None).unwrap().status()
    };
    assert_eq!(answered(json!({ "scheme": "https" })), 400);
    assert_eq!(answered(json!({ "scheme": "https", "host": "test.example" })), 302);
}

#[test]
fn a_wrong_configuration_is_refused_by_its_key() {
    for (config, expected) in [
        (json!({ "pathprefix": "/" }), "pathprefix: unknown field `pathprefix`"),
        (json!({ "path_prefix": "v1" }), "path_prefix: invalid path \"v1\""),
        (json!({ "strip_prefix": "/a?b" }), "strip_prefix: invalid path \"/a?b\""),
        (json!({ "host": "a b" }), "host: invalid host \"a b\""),
        (json!({ "path_regex": { "pattern": "(", "replacement": "/" } }), "path_regex: pattern \"(\": "),
        (json!({ "path_regex": { "pattern": "a" } }), "path_regex: missing field `replacement`"),
        (
            json!({ "path_regex": { "pattern": "a", "replacement": "b" }, "path_prefix": "/x" }),
            "path_regex: not together with strip_prefix or path_prefix",
        ),
        (
            json!({ "request_headers": { "set": { "Host": "a" } } }),
            "request_headers.set.Host: the header \"host\" belongs to the proxy",
        ),
        (
            json!({ "request_headers": { "remove": ["via", "Connection"] } }),
            "request_headers.remove[1]: the header \"connection\" belongs to the proxy",
        ),
        (
            json!({ "response_headers": { "add": { "a b": "1" } } }),
            "response_headers.add.a b: invalid header name \"a b\"",
        ),
        (
            json!({ "response_headers": { "set": { "a": "1\r\nb: 2" } } }),
            "response_headers.set.a: invalid header value",
        ),
        (json!({ "redirect": {} }), "redirect: it changes nothing"),
        (json!({ "redirect": { "scheme": "ftp" } }), "redirect.scheme: unknown variant `ftp`"),
        (json!({ "redirect": { "path": "/", "status": 200 } }), "redirect.status: invalid status 200"),
        (json!({ "redirect": { "host": "a:80" } }), "redirect.host: invalid host \"a:80\""),
        (
            json!({ "upstream_by_header": { "header": "x", "values": { "1": "" } } }),
            "upstream_by_header.values.1: expected the name of an upstream",
        ),
    ] {
        let reason = refusal(&config);
        assert!(reason.starts_with(expected), "{reason}");
    }
}
