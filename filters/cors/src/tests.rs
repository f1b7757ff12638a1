//! The filter as a whole.

use meshup_sdk::testing::{self, Finished, Tester, json};

use super::*;

const APP: &str = "https://app.example";
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

fn tester(config: impl Serialize) -> Tester {
    testing::filter(cors).config(config)
}

fn preflight_of(origin: &str) -> Request {
    Request::new("OPTIONS", "/a").with_header("origin", origin).with_header("access-control-request-method", "PUT")
}

fn run(config: impl Serialize, req: Request) -> Finished {
    run_before(config, req, Response::new(200))
}

fn run_before(config: impl Serialize, req: Request, res: Response) -> Finished {
    let mut res = Some(res);
    tester(config).run(req, move |_| res.take().unwrap())
}

/// Every `Access-Control-` header, and `Vary`.
fn headers(done: &Finished) -> Vec<(&str, &str)> {
    let mut headers: Vec<_> = done
        .headers()
        .iter()
        .filter(|(name, _)| name.starts_with("access-control-") || name == "vary")
        .map(|(name, value)| (name.trim_start_matches("access-control-"), str::from_utf8(value).unwrap()))
        .collect();
    headers.sort_unstable();
    headers
}

#[test]
fn a_preflight_request_is_answered() {
    let config = json!({
        "origins": [APP], "methods": ["GET", "PUT"], "headers": ["Content-Type", "x-team"], "exposed_headers": ["x-total"],
        "credentials": true, "max_age": "10m",
    });
    let done = run(&config, preflight_of(APP));
    assert_eq!((done.status(), done.sent.len(), done.body().len()), (204, 0, 0));
    assert_eq!(
        headers(&done),
        [
            ("allow-credentials", "true"),
            ("allow-headers", "content-type, x-team"),
            ("allow-methods", "GET, PUT"),
            ("allow-origin", APP),
            ("max-age", "600"),
            ("vary", PREFLIGHT_VARY),
        ]
    );
}

#[test]
fn the_preflight_request_of_another_origin_is_answered_without_permission() {
    let done = run(json!({ "origins": [APP], "credentials": true }), preflight_of("https://evil.example"));
    assert_eq!((done.status(), done.sent.len(), headers(&done)), (204, 0, vec![("vary", PREFLIGHT_VARY)]));
}

#[test]
fn without_more_keys_a_preflight_request_learns_the_simple_methods() {
    let done = run(json!({ "origins": ["*"] }), preflight_of(APP));
    assert_eq!(headers(&done), [("allow-methods", "GET, HEAD, POST"), ("allow-origin", "*"), ("vary", PREFLIGHT_VARY)]);
}

#[test]
fn a_private_network_is_opened_only_where_it_is_asked_for_and_configured() {
    let asking = || preflight_of(APP).with_header("access-control-request-private-network", "true");
    for (configured, req, opened) in
        [(true, asking(), true), (false, asking(), false), (true, preflight_of(APP), false)]
    {
        let done = run(json!({ "origins": [APP], "private_network": configured }), req);
        assert_eq!(done.header("access-control-allow-private-network"), opened.then_some("true"));
    }
}

#[test]
fn other_options_requests_pass() {
    let config = json!({ "origins": [APP] });
    let without_method = Request::new("OPTIONS", "/a").with_header("origin", APP);
    let without_origin = Request::new("OPTIONS", "/a").with_header("access-control-request-method", "PUT");
    for req in [without_method, without_origin, Request::new("OPTIONS", "*")] {
        assert_eq!(run(&config, req).sent.len(), 1);
    }
    let get = Request::get("/").with_header("origin", APP).with_header("access-control-request-method", "PUT");
    assert_eq!(run(&config, get).sent.len(), 1);
}

#[test]
fn responses_are_shared_with_the_allowed_origins() {
    let config = json!({ "origins": [APP], "exposed_headers": ["x-total", "x-page"], "credentials": true });
    let done = run(&config, Request::get("/").with_header("origin", APP));
    assert_eq!(
        headers(&done),
        [
            ("allow-credentials", "true"),
            ("allow-origin", APP),
            ("expose-headers", "x-total, x-page"),
            ("vary", "Origin")
        ]
    );
    let other = Request::get("/").with_header("origin", "https://evil.example");
    let mut two = Request::get("/").with_header("origin", APP);
    two.headers_mut().append("origin", APP);
    for req in [other, two, Request::get("/"), Request::get("/").with_header("origin", b"\xff")] {
        let done = run(&config, req);
        assert_eq!((done.status(), headers(&done)), (200, vec![("vary", "Origin")]));
    }
}

#[test]
fn what_the_upstream_says_about_sharing_is_replaced() {
    let upstreams = || {
        let mut res = Response::new(200).with_header("Access-Control-Allow-Origin", "*").with_body("hello");
        res.headers_mut().append("access-control-allow-origin", "https://a.example");
        res.headers_mut().append("access-control-allow-credentials", "true");
        res.headers_mut().append("access-control-max-age", "5");
        res
    };
    let config = json!({ "origins": [APP] });
    let done = run_before(&config, Request::get("/").with_header("origin", APP), upstreams());
    assert_eq!((headers(&done), done.text()), (vec![("allow-origin", APP), ("vary", "Origin")], "hello"));
    let done = run_before(&config, Request::get("/"), upstreams());
    assert_eq!(headers(&done), [("vary", "Origin")]);
}

#[test]
fn the_upstreams_vary_is_kept_and_origin_added_once() {
    for (upstreams, expected) in [
        (&["Accept-Encoding"][..], &["Accept-Encoding", "Origin"][..]),
        (&["accept, ORIGIN"], &["accept, ORIGIN"]),
        (&["accept", "origin"], &["accept", "origin"]),
        (&["*"], &["*"]),
        (&["x-origin,"], &["Origin", "x-origin,"]),
    ] {
        let mut res = Response::new(200);
        upstreams.iter().for_each(|value| res.headers_mut().append("vary", value));
        let done = run_before(json!({ "origins": [APP] }), Request::get("/"), res);
        let vary: Vec<_> = headers(&done).into_iter().map(|(_, value)| value).collect();
        assert_eq!(vary, expected);
    }
}

#[test]
fn errors_are_shared_too() {
    let req = Request::get("/").with_header("origin", APP);
    let done = tester(json!({ "origins": [APP] })).run(req, |_| ErrorKind::ConnectFailure);
    assert_eq!((done.status(), done.header("access-control-allow-origin")), (503, Some(APP)));
}

#[test]
fn refusals_name_the_key() {
    for (config, expected) in [
        (json!({}), "missing field `origins`"),
        (json!({ "origins": [] }), "origins: empty"),
        (json!({ "origins": ["app.example"] }), "origins[0]: invalid origin \"app.example\""),
        (json!({ "origins": ["*", "https://app.example/"] }), "origins[1]: invalid origin"),
        (json!({ "origins": ["https://*"] }), "origins[0]: invalid origin"),
        (json!({ "origins": ["https://*app.example"] }), "origins[0]: invalid origin"),
        (json!({ "origins": ["https://a.*.example"] }), "origins[0]: invalid origin"),
        (json!({ "origins": ["https://a.example:0"] }), "origins[0]: invalid origin"),
        (json!({ "origins": ["https://a.example:443"] }), "origins[0]: browsers leave the port :443 of https out"),
        (json!({ "origins": ["*"], "credentials": true }), "origins: not \"*\" together with credentials"),
        (json!({ "origins": ["null"], "credentials": true }), "origins: not \"null\" together with credentials"),
        (json!({ "origins": [APP], "methods": ["*"], "credentials": true }), "methods: browsers do not take \"*\""),
        (json!({ "origins": [APP], "headers": ["*"], "credentials": true }), "headers: browsers do not take \"*\""),
        (
            json!({ "origins": [APP], "exposed_headers": ["*"], "credentials": true }),
            "exposed_headers: browsers do not",
        ),
        (json!({ "origins": [APP], "methods": ["get"] }), "methods[0]: \"get\" is not in upper case"),
        (json!({ "origins": [APP], "methods": ["A B"] }), "methods[0]: invalid method \"A B\""),
        (json!({ "origins": [APP], "headers": ["a b"] }), "headers[0]: invalid header name"),
        (json!({ "origins": [APP], "max_age": 600 }), "max_age: invalid type"),
        (json!({ "origins": [APP], "origin": APP }), "origin: unknown field"),
    ] {
        let message = tester(&config).configure().unwrap_err();
        assert!(message.contains(expected), "{config}: {message}");
    }
}

#[test]
fn stars_are_accepted_without_credentials() {
    let config = json!({ "origins": ["*"], "methods": ["*"], "headers": ["*"], "exposed_headers": ["*"] });
    let done = run(config, preflight_of(APP));
    assert_eq!(done.header("access-control-allow-headers"), Some("*"));
}
