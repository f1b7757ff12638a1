//! The filter as a whole.

use meshup_sdk::testing::{self, Finished, Reply, SentRequest, Tester, json};
use serde_json::Value;

use super::*;

fn tester(config: Value) -> Tester {
    testing::filter(ext_authz).config(config)
}

/// A filter with a service at `/check`, and more configuration.
#[allow(clippy::needless_pass_by_value, reason = "a test writes the configuration in place")]
fn with_path(more: Value) -> Tester {
    let mut config = json!({ "upstream": "authz", "path": "/check" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tester(config)
}

fn run(tester: &mut Tester, req: Request) -> Finished {
    tester.run(req, |_| Response::new(200).with_body("hello"))
}

fn asked(done: &Finished) -> &SentRequest {
    assert_eq!(done.fetched.len(), 1);
    &done.fetched[0].1
}

fn decisions(tester: &Tester, decision: &str) -> Vec<f64> {
    tester.metric("ext_authz_decisions_total", [("decision", decision)])
}

#[test]
fn what_the_service_allows_passes() {
    let mut tester = with_path(json!({})).on_fetch(|upstream, _| {
        assert_eq!(upstream, "authz");
        Response::new(202).with_body("whatever")
    });
    let done = run(&mut tester, Request::get("/a").with_header("x-a", "1"));
    assert_eq!((done.status(), done.text(), done.passed), (200, "hello", true));
    assert_eq!(done.sent[0].headers, [("x-a".to_owned(), b"1".to_vec())]);
    assert_eq!(decisions(&tester, "allowed"), [1.0]);
}

#[test]
fn what_the_service_denies_gets_its_answer() {
    let mut tester = with_path(json!({})).on_fetch(|_, _| {
        let mut res = Response::new(401)
            .with_header("www-authenticate", "Bearer")
            .with_header("content-type", "text/html")
            .with_header("x-secret", "1")
            .with_header("set-cookie", "a=1")
            .with_body("<p>who are you?");
        res.headers_mut().append("set-cookie", "b=2");
        res
    });
    let done = run(&mut tester, Request::get("/"));
    assert_eq!((done.status(), done.text(), done.sent.len()), (401, "<p>who are you?", 0));
    let mut names: Vec<_> = done.headers().iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "set-cookie", "set-cookie", "www-authenticate"]);
    assert_eq!(decisions(&tester, "denied"), [1.0]);
}

#[test]
fn redirects_and_every_4xx_are_denials() {
    for status in [302, 400, 403, 404, 407, 429] {
        let mut tester = with_path(json!({ "on_failure": "allow" }))
            .on_fetch(move |_, _| Response::new(status).with_header("location", "https://login.example/?rd=1"));
        let done = run(&mut tester, Request::get("/"));
        assert_eq!((done.status(), done.sent.len()), (status, 0));
        assert_eq!(done.header("location"), Some("https://login.example/?rd=1"));
    }
}

#[test]
fn at_a_path_the_service_is_asked_with_get_and_told_of_the_request() {
    let mut tester = with_path(json!({ "path": "/oauth2/auth?group=a" })).on_fetch(|_, _| Response::new(200));
    let req = Request::post("/orders?id=1")
        .with_authority("shop.example")
        .with_header("Authorization", "Bearer x")
        .with_header("cookie", "a=1")
        .with_header("x-other", "1")
        .with_header("x-forwarded-uri", "/public")
        .with_header("x-original-url", "/public")
        .with_body("content");
    let done = run(&mut tester, req);
    let asked = asked(&done);
    assert_eq!((&*asked.method, &*asked.path, &*asked.authority), ("GET", "/oauth2/auth?group=a", ""));
    assert!(asked.body.is_empty());
    for (name, value) in [
        ("authorization", "Bearer x"),
        ("cookie", "a=1"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-uri", "/orders?id=1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-original-method", "POST"),
        ("x-original-uri", "/orders?id=1"),
        ("x-original-url", "http://shop.example/orders?id=1"),
    ] {
        let values: Vec<_> = asked.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect();
        assert_eq!(values, [value.as_bytes()], "{name}");
    }
    assert_eq!(asked.header("x-other"), None);
    assert_eq!((&*done.sent[0].body, done.sent[0].header("x-forwarded-uri")), (&b"content"[..], Some("/public")));
}

#[test]
fn below_a_prefix_the_service_gets_method_host_and_path() {
    for (prefix, path, expected) in [
        ("/authz", "/orders?id=1", "/authz/orders?id=1"),
        ("/authz/", "/", "/authz/"),
        ("/", "/orders", "/orders"),
        ("/authz", "*", "/authz/"),
    ] {
        let mut tester =
            tester(json!({ "upstream": "authz", "path_prefix": prefix })).on_fetch(|_, _| Response::new(200));
        let done = run(&mut tester, Request::new("PUT", path).with_authority("shop.example"));
        let asked = asked(&done);
        assert_eq!((&*asked.method, &*asked.path, &*asked.authority), ("PUT", expected, "shop.example"));
    }
    let mut with_host = tester(json!({ "upstream": "authz", "path_prefix": "/", "host": "authz.internal" }))
        .on_fetch(|_, _| Response::new(200));
    assert_eq!(asked(&run(&mut with_host, Request::get("/"))).authority, "authz.internal");
}

#[test]
fn a_path_the_proxy_could_not_send_is_refused() {
    let mut tester =
        tester(json!({ "upstream": "authz", "path_prefix": "/authz" })).on_fetch(|_, _| Response::new(200));
    let mut status = |len: usize| run(&mut tester, Request::get(&format!("/{}", "a".repeat(len - 1)))).status();
    assert_eq!((status(65_534 - 6), status(65_534 - 5)), (200, 414));
}

#[test]
fn the_headers_for_the_service_can_be_chosen() {
    let ask = |request_headers: Value| {
        let mut tester =
            with_path(json!({ "request_headers": request_headers, "to_upstream": ["x-user", "authorization"] }))
                .on_fetch(|_, _| Response::new(200));
        let mut req =
            Request::get("/").with_header("x-user", "root").with_header("authorization", "a").with_header("x-b", "1");
        req.headers_mut().append("x-b", "2");
        req.headers_mut().append("if-none-match", "*");
        let done = run(&mut tester, req);
        let asked = asked(&done);
        let shown = asked
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with("x-forwarded") && !name.starts_with("x-original"));
        shown.map(|(name, value)| format!("{name}: {}", str::from_utf8(value).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(ask(json!([])), [""; 0]);
    assert_eq!(ask(json!(["X-B", "x-c"])), ["x-b: 1", "x-b: 2"]);
    assert_eq!(ask(json!(["*"])), ["x-b: 1", "x-b: 2"]);
    assert_eq!(ask(json!(["*", "authorization"])), ["authorization: a", "x-b: 1", "x-b: 2"]);
}

#[test]
fn headers_come_back_into_the_request_and_cannot_be_forged() {
    let mut tester = with_path(json!({ "to_upstream": ["X-User", "x-groups"] })).on_fetch(|_, sent| {
        let mut res = Response::new(200).with_header("x-other", "1");
        if sent.header("cookie").is_some() {
            res.headers_mut().append("x-user", "alice");
            res.headers_mut().append("x-user", "alicia");
        }
        res
    });
    let forged = || Request::get("/").with_header("x-user", "root").with_header("x-groups", "admin");
    let done = run(&mut tester, forged().with_header("cookie", "a=1"));
    let values: Vec<_> = done.sent[0].headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(values, [("cookie", &b"a=1"[..]), ("x-user", b"alice"), ("x-user", b"alicia")]);
    let done = run(&mut tester, forged());
    assert!(done.passed && done.sent[0].headers.is_empty());
}

#[test]
fn headers_cannot_be_forged_when_the_service_is_down_either() {
    let mut tester = with_path(json!({ "to_upstream": ["x-user"], "on_failure": "allow" }));
    let done = run(&mut tester, Request::get("/").with_header("x-user", "root"));
    assert_eq!((done.passed, done.sent[0].headers.len()), (true, 0));
    assert_eq!(decisions(&tester, "failed-open"), [1.0]);
}

#[test]
fn headers_go_to_the_client_of_an_allowed_request() {
    let mut tester =
        with_path(json!({ "to_client": ["set-cookie", "x-level"] })).on_fetch(|_, sent| match sent.header("cookie") {
            Some(_) => Response::new(200).with_header("set-cookie", "session=2").with_header("x-level", "7"),
            None => Response::new(200),
        });
    let upstream = |_: &SentRequest| Response::new(200).with_header("set-cookie", "own=1").with_header("x-level", "1");
    let done = tester.run(Request::get("/").with_header("cookie", "session=1"), upstream);
    let values = |name: &str| -> Vec<String> {
        let values = done.headers().iter().filter(|(other, _)| other == name);
        values.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect()
    };
    assert_eq!(
        (values("set-cookie"), values("x-level")),
        (vec!["own=1".to_owned(), "session=2".to_owned()], vec!["7".to_owned()])
    );
    assert!(tester.run(Request::get("/"), upstream).passed);
}

#[test]
fn without_an_answer_a_request_is_denied() {
    for (reply, reason) in [
        (Reply::error(ErrorKind::ConnectFailure), "connect-failure"),
        (Reply::error(ErrorKind::NoUpstream), "no-upstream"),
        (Reply::from(Response::new(200)).after(Duration::from_millis(1001)), "timeout"),
        (Response::new(500).with_body("secret").into(), "status"),
        (Response::new(503).into(), "status"),
    ] {
        let mut tester = with_path(json!({})).on_fetch(move |_, _| reply.clone());
        let done = run(&mut tester, Request::get("/"));
        assert_eq!((done.status(), done.sent.len()), (503, 0), "{reason}");
        assert!(done.text().contains("authorization-unavailable"));
        assert_eq!(decisions(&tester, "failed-closed"), [1.0]);
        assert_eq!(tester.metric("ext_authz_failures_total", [("reason", reason)]), [1.0]);
        assert!(tester.logs()[0].text.starts_with("the authorization service did not decide"));
    }
}

#[test]
fn a_failure_can_have_another_status_or_allow() {
    let down = |more: Value| run(&mut with_path(more).on_fetch(|_, _| ErrorKind::Reset), Request::get("/"));
    assert_eq!(down(json!({ "failure_status": 403 })).status(), 403);
    let done = down(json!({ "on_failure": "allow" }));
    assert_eq!((done.status(), done.passed), (200, true));
}

#[test]
fn the_time_out_is_that_of_the_whole_question() {
    let late = |delay: u64| {
        let mut tester = with_path(json!({ "timeout": "50ms" }))
            .on_fetch(move |_, _| Reply::from(Response::new(200)).after(Duration::from_millis(delay)));
        run(&mut tester, Request::get("/")).status()
    };
    assert_eq!((late(50), late(51)), (200, 503));
}

#[test]
fn an_answer_may_be_as_long_as_its_limit_and_a_longer_one_never_allows() {
    let answer = |status: u16, len: usize| {
        let mut tester = with_path(json!({ "body_limit": "1KiB", "on_failure": "allow" }))
            .on_fetch(move |_, _| Response::new(status).with_body("x".repeat(len)));
        let done = run(&mut tester, Request::get("/"));
        (done.status(), done.sent.len(), done.body().len())
    };
    assert_eq!((answer(403, 1024), answer(200, 1024)), ((403, 0, 1024), (200, 1, 5)));
    assert_eq!((answer(403, 1025).0, answer(200, 1025).0), (503, 503));
    assert_eq!((answer(403, 1025).1, answer(200, 1025).1), (0, 0));
}

#[test]
fn a_client_that_goes_away_ends_the_question() {
    let mut tester = with_path(json!({})).on_fetch(|_, _| Reply::client_gone());
    assert!(run(&mut tester, Request::get("/")).cancelled);
}

#[test]
fn refusals_name_the_key() {
    let with = |more: Value| {
        let mut config = json!({ "upstream": "authz", "path": "/" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    for (config, expected) in [
        (json!({ "path": "/" }), "missing field `upstream`"),
        (with(json!({ "upstream": "" })), "upstream: empty"),
        (json!({ "upstream": "a" }), "no path: give `path`"),
        (with(json!({ "path_prefix": "/a" })), "path_prefix: not together with path"),
        (with(json!({ "path": "a" })), "path: invalid path \"a\": it begins with a slash"),
        (with(json!({ "path": "/a b" })), "path: invalid path"),
        (json!({ "upstream": "a", "path_prefix": "/a?b" }), "path_prefix: invalid path"),
        (with(json!({ "host": "a\r\nb" })), "host: invalid"),
        (with(json!({ "host": "a b" })), "host: invalid host"),
        (with(json!({ "host": "a:0" })), "host: invalid host"),
        (with(json!({ "timeout": "0s" })), "timeout: the service needs some time"),
        (with(json!({ "timeout": 5 })), "timeout: invalid type"),
        (with(json!({ "body_limit": "1K" })), "body_limit: invalid size"),
        (with(json!({ "failure_status": 200 })), "failure_status: invalid status 200"),
        (with(json!({ "on_failure": "open" })), "on_failure: unknown variant"),
        (with(json!({ "request_headers": ["a b"] })), "request_headers[0]: invalid header name"),
        (with(json!({ "to_upstream": ["host"] })), "to_upstream[0]: the header \"host\" belongs to the proxy"),
        (with(json!({ "to_upstream": ["*"] })), "to_upstream: \"*\" stands for all headers in request_headers alone"),
        (with(json!({ "to_client": ["*"] })), "to_client: \"*\""),
        (with(json!({ "denial_headers": ["*"] })), "denial_headers: \"*\""),
        (with(json!({ "headers": [] })), "headers: unknown field"),
    ] {
        let message = tester(config.clone()).configure().unwrap_err();
        assert!(message.contains(expected), "{config}: {message}");
    }
}
