//! The filter as a whole.

use meshup_sdk::testing::{self, Finished, Tester, json};
use serde_json::Value;

use super::*;

fn tester(config: impl Serialize) -> Tester {
    testing::filter(access).config(config)
}

fn run(tester: &mut Tester, req: Request) -> Finished {
    tester.run(req, |_| Response::new(200))
}

/// Whether a configuration with this rule alone allows and denies the request.
fn holds(condition: &Value, set_up: impl Fn(Tester) -> Tester, req: impl Fn() -> Request) -> (bool, bool) {
    let status = |action: &str, default: &str| {
        let mut rule = condition.clone();
        rule["action"] = action.into();
        run(&mut set_up(tester(json!({ "rules": [rule], "default": default }))), req()).status()
    };
    (status("allow", "deny") == 200, status("deny", "allow") == 403)
}

fn refused(config: Value) -> String {
    tester(config).configure().unwrap_err()
}

#[test]
fn the_first_rule_that_holds_decides() {
    let mut tester = tester(json!({ "rules": [
        { "name": "no-deletes", "action": "deny", "methods": "DELETE" },
        { "name": "orders", "action": "allow", "path_prefix": "/orders" },
        { "action": "deny", "path": "/health" },
        { "action": "allow", "path": ["/health", "/ready"] },
    ] }));
    for (method, path, rule, decision) in [
        ("GET", "/orders/7", "orders", "allow"),
        ("DELETE", "/orders/7", "no-deletes", "deny"),
        ("GET", "/health", "rule-3", "deny"),
        ("GET", "/ready?full", "rule-4", "allow"),
        ("GET", "/", "default", "deny"),
        ("OPTIONS", "*", "default", "deny"),
    ] {
        let done = run(&mut tester, Request::new(method, path));
        assert_eq!(
            (done.status(), done.passed),
            if decision == "allow" { (200, true) } else { (403, false) },
            "{path}"
        );
        assert_eq!(tester.variable(RULE_VARIABLE).as_deref(), Some(rule));
        assert_eq!(tester.variable(DECISION_VARIABLE).as_deref(), Some(decision));
    }
    for (rule, decision, count) in [("orders", "allow", 1.0), ("no-deletes", "deny", 1.0), ("default", "deny", 2.0)] {
        assert_eq!(tester.metric("access_decisions_total", [("rule", rule), ("decision", decision)]), [count]);
    }
    let logs: Vec<_> = tester.logs().into_iter().map(|line| line.text).collect();
    assert_eq!(logs[..2], ["denied by rule no-deletes", "denied by rule rule-3"]);
}

#[test]
fn a_refusal_tells_no_reason() {
    let mut tester = tester(json!({ "rules": [{ "name": "secret-rule", "action": "deny", "methods": "GET" }] }));
    for method in ["GET", "POST"] {
        let done = run(&mut tester, Request::new(method, "/"));
        assert_eq!((done.status(), done.sent.len()), (403, 0));
        assert_eq!(done.header("content-type"), Some("application/json"));
        assert_eq!(done.text(), "{\"error\":\"forbidden\",\"message\":\"access denied\"}\n");
    }
}

#[test]
fn by_default_everything_is_denied_and_all_conditions_must_hold() {
    let rule = json!({ "action": "allow", "methods": ["GET", "HEAD"], "path": "/a", "headers": { "X-Team": "tea" } });
    let mut denying = tester(json!({ "rules": [rule] }));
    let mut allowing = tester(json!({ "rules": [rule], "default": "allow" }));
    for (method, path, team, status) in [
        ("GET", "/a", "tea", 200),
        ("HEAD", "/a", "tea", 200),
        ("POST", "/a", "tea", 403),
        ("GET", "/b", "tea", 403),
        ("GET", "/a", "coffee", 403),
        ("get", "/a", "tea", 403),
    ] {
        let req = || Request::new(method, path).with_header("x-team", team);
        assert_eq!(run(&mut denying, req()).status(), status, "{method} {path} {team}");
        assert_eq!(run(&mut allowing, req()).status(), 200);
    }
}

#[test]
fn headers_are_there_or_not_or_have_a_value() {
    for (expected, values, outcome) in [
        (json!(true), &["x"][..], (true, true)),
        (json!(true), &[], (false, false)),
        (json!(false), &[], (true, true)),
        (json!(false), &["x"], (false, false)),
        (json!("a"), &["a"], (true, true)),
        (json!("a"), &["A"], (false, false)),
        (json!(["a", "b"]), &["b"], (true, true)),
        (json!({ "contains": "a" }), &["b, a"], (true, true)),
        (json!({ "contains": ["a", "c"] }), &["b"], (false, false)),
        (json!({ "contains": "a" }), &["a", "b"], (false, true)),
        // Whoever reads it next may take the other one.
        (json!("a"), &["a", "b"], (false, true)),
        (json!("a"), &["b", "a"], (false, true)),
    ] {
        let req = || {
            let mut req = Request::get("/");
            values.iter().for_each(|value| req.headers_mut().append("x-role", value));
            req
        };
        assert_eq!(holds(&json!({ "headers": { "X-Role": expected } }), |tester| tester, req), outcome, "{expected}");
    }
}

#[test]
fn clients_are_ranges_of_addresses() {
    let condition = json!({ "clients": ["10.0.0.0/8", "2001:db8::/32"] });
    for (client, inside) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("11.1.2.3", false),
        ("2001:db8:1::1", true),
        ("2001:db9::1", false),
        ("unknown", false),
    ] {
        let set_up = |tester: Tester| tester.attribute(Attribute::ClientAddress, client);
        assert_eq!(holds(&condition, set_up, || Request::get("/")), (inside, inside), "{client}");
    }
    assert_eq!(holds(&json!({ "clients": "192.0.2.1" }), |tester| tester, || Request::get("/")), (true, true));
}

#[test]
fn variables_are_those_of_filters_before_and_never_a_clients() {
    async fn after_jwt(config: &Config, req: Request, next: Next) -> Response {
        if let Some(subject) = req.headers().get("x-test-subject") {
            exchange::set_variable("jwt.sub", subject).unwrap();
        }
        if config.decide(&req).passes() { next.pass(req) } else { refusal() }
    }
    let status = |expected: Value, subject: Option<&str>| {
        let config = json!({ "rules": [{ "action": "allow", "variables": { "jwt.sub": expected } }] });
        let mut req = Request::get("/").with_header("jwt.sub", "alice");
        if let Some(subject) = subject {
            req.headers_mut().set("x-test-subject", subject);
        }
        testing::filter(after_jwt).config(config).run(req, |_| Response::new(200)).status()
    };
    assert_eq!((status(json!("alice"), Some("alice")), status(json!("alice"), Some("bob"))), (200, 403));
    assert_eq!((status(json!(["alice", "bob"]), Some("bob")), status(json!("alice"), None)), (200, 403));
    assert_eq!((status(json!(true), Some("eve")), status(json!(true), None)), (200, 403));
    assert_eq!((status(json!(false), Some("eve")), status(json!(false), None)), (403, 200));
}

#[test]
fn peers_are_known_by_their_certificate() {
    const SANS: &str = "DNS:web.example,URI:spiffe://mesh/ns/shop/sa/web,IP:192.0.2.1";
    for (peer, known) in [
        (json!(true), true),
        (json!(false), false),
        (json!({ "spiffe": "spiffe://mesh/ns/shop/sa/web" }), true),
        (json!({ "spiffe": ["spiffe://mesh/a", "spiffe://mesh/ns/shop/sa/web"] }), true),
        (json!({ "spiffe": "spiffe://mesh/ns/shop" }), false),
        (json!({ "spiffe_prefix": "spiffe://mesh/ns/shop" }), true),
        (json!({ "spiffe_prefix": "spiffe://mesh/ns/shop/" }), true),
        (json!({ "spiffe_prefix": "spiffe://mesh" }), true),
        (json!({ "spiffe_prefix": "spiffe://mesh/ns/sho" }), false),
        (json!({ "spiffe_prefix": "spiffe://me" }), false),
        (json!({ "subject": "CN=web" }), true),
        (json!({ "subject": "CN=we" }), false),
        (json!({ "san": "DNS:web.example" }), true),
        (json!({ "san": ["DNS:a.example", "IP:192.0.2.1"] }), true),
        (json!({ "san": "DNS:web" }), false),
        (json!({ "san": "DNS:web.example", "spiffe_prefix": "spiffe://other" }), false),
    ] {
        let with_certificate = |tester: Tester| {
            tester
                .attribute(Attribute::PeerSubject, "CN=web")
                .attribute(Attribute::PeerSpiffe, "spiffe://mesh/ns/shop/sa/web")
                .attribute(Attribute::PeerSans, SANS)
        };
        let condition = json!({ "peer": peer });
        assert_eq!(holds(&condition, with_certificate, || Request::get("/")), (known, known), "{peer}");
        let without = peer == json!(false);
        assert_eq!(holds(&condition, |tester| tester, || Request::get("/")), (without, without), "{peer}");
    }
}

#[test]
fn no_encoding_leads_around_a_rule() {
    let rules = json!([{ "name": "admin", "action": "deny", "path_prefix": "/admin" }]);
    let mut tester = tester(json!({ "rules": rules, "default": "allow" }));
    for path in ["/admin", "/admin/", "/admin/x?y", "/%61dmin", "/%61%64min/x", "/admin?/public"] {
        assert_eq!(run(&mut tester, Request::get(path)).status(), 403, "{path}");
        assert_eq!(tester.variable(RULE_VARIABLE).as_deref(), Some("admin"), "{path}");
    }
    for path in [
        "//admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..;/admin",
        "/./admin",
        "/%2fadmin",
        "/x%2f..%2fadmin",
        "/\\admin",
        "/public%5c..%5cadmin",
        "/admin%00",
        "/%c0%afadmin",
        "/%zz",
    ] {
        assert_eq!(run(&mut tester, Request::get(path)).status(), 403, "{path}");
        assert_eq!(tester.variable(RULE_VARIABLE).as_deref(), Some("ambiguous-path"), "{path}");
    }
    for path in ["/", "/administrators", "/public/a..b", "/?x=/admin", "/?x=/../admin//"] {
        assert_eq!(run(&mut tester, Request::get(path)).status(), 200, "{path}");
    }
}

#[test]
fn paths_stay_what_they_were_and_do_not_matter_where_no_rule_reads_them() {
    let mut tester = tester(json!({ "rules": [{ "action": "allow", "methods": "GET" }] }));
    let done = run(&mut tester, Request::get("/a//b/%2e%2e?c"));
    assert_eq!((done.status(), done.sent[0].path.as_str()), (200, "/a//b/%2e%2e?c"));
}

#[test]
fn expressions_are_for_the_whole_path() {
    let condition = json!({ "path_regex": ["/users/[0-9]+", "/teams/(tea|coffee)"] });
    for (path, expected) in [("/users/7", true), ("/users/7/x", false), ("/teams/tea", true), ("/x/teams/tea", false)] {
        assert_eq!(holds(&condition, |tester| tester, || Request::get(path)), (expected, expected), "{path}");
    }
}

#[test]
fn a_dry_run_lets_pass_and_tells_what_would_be() {
    let rules = json!([{ "name": "reads", "action": "allow", "methods": "GET" }, { "action": "deny", "path": "/x" }]);
    let mut tester = tester(json!({ "rules": rules, "dry_run": true }));
    for (method, path, rule, decision) in [
        ("GET", "/", "reads", "allow"),
        ("POST", "/x", "rule-2", "dry-run-deny"),
        ("POST", "/", "default", "dry-run-deny"),
        ("POST", "//", "ambiguous-path", "dry-run-deny"),
    ] {
        assert!(run(&mut tester, Request::new(method, path)).passed);
        assert_eq!(tester.variable(RULE_VARIABLE).as_deref(), Some(rule));
        assert_eq!(tester.variable(DECISION_VARIABLE).as_deref(), Some(decision));
        assert_eq!(tester.metric("access_decisions_total", [("rule", rule), ("decision", decision)]), [1.0]);
    }
    assert_eq!(tester.logs()[0].text, "dry run: would be denied by rule rule-2");
}

#[test]
fn refusals_name_the_key() {
    let rule = |condition: Value| {
        let mut rule = condition;
        rule["action"] = "allow".into();
        json!({ "rules": [rule] })
    };
    for (config, expected) in [
        (json!({}), "missing field `rules`"),
        (json!({ "rules": [] }), "rules: empty"),
        (json!({ "rules": [{ "methods": "GET" }] }), "rules[0]: missing field `action`"),
        (json!({ "rules": [{ "action": "block", "methods": "GET" }] }), "rules[0].action: unknown variant `block`"),
        (rule(json!({})), "rules[0]: no condition"),
        (rule(json!({ "methods": "get" })), "rules[0].methods: invalid method \"get\""),
        (rule(json!({ "methods": ["GET", 5] })), "rules[0].methods[1]: invalid type"),
        (rule(json!({ "methods": [] })), "rules[0].methods: an empty list"),
        (rule(json!({ "path": "a" })), "rules[0].path: invalid path \"a\""),
        (rule(json!({ "path": "/a?b" })), "rules[0].path: invalid path \"/a?b\""),
        (rule(json!({ "path_prefix": ["/a", "/a/../b"] })), "rules[0].path_prefix[1]: invalid path \"/a/../b\""),
        (rule(json!({ "path_regex": "(" })), "rules[0].path_regex: invalid expression \"(\""),
        (rule(json!({ "path": "/a", "path_prefix": "/b" })), "rules[0]: only one of path"),
        (rule(json!({ "headers": { "a b": true } })), "rules[0].headers.a b: invalid header name \"a b\""),
        (rule(json!({ "headers": { "a": 5 } })), "rules[0].headers.a: invalid type: integer `5`, expected true, false"),
        (rule(json!({ "headers": { "a": { "contains": [] } } })), "rules[0].headers.a.contains: an empty list"),
        (rule(json!({ "headers": { "a": { "has": "b" } } })), "rules[0].headers.a.has: unknown field `has`"),
        (rule(json!({ "headers": { "a": [] } })), "rules[0].headers.a: an empty list"),
        (rule(json!({ "clients": ["10.0.0.0/33"] })), "rules[0].clients[0]: invalid address range \"10.0.0.0/33\""),
        (rule(json!({ "clients": "10.0.0.1/8" })), "rules[0].clients: invalid address range \"10.0.0.1/8\": bits"),
        (rule(json!({ "variables": { "": true } })), "rules[0].variables: expected the name of a variable"),
        (rule(json!({ "peer": {} })), "rules[0].peer: expected subject, spiffe"),
        (rule(json!({ "peer": { "spiffe": "mesh/a" } })), "rules[0].peer.spiffe: invalid SPIFFE id \"mesh/a\""),
        (rule(json!({ "peer": { "san": "a.example" } })), "rules[0].peer.san: invalid name \"a.example\""),
        (rule(json!({ "peer": { "sans": "DNS:a" } })), "rules[0].peer.sans: unknown field `sans`"),
        (rule(json!({ "method": "GET" })), "rules[0].method: unknown field `method`"),
        (rule(json!({ "name": "a b", "methods": "GET" })), "rules[0].name: \"a b\": use visible ASCII"),
        (rule(json!({ "name": "default", "methods": "GET" })), "rules[0].name: \"default\" is taken"),
        (json!({ "rules": [{ "action": "deny", "methods": "GET" }], "default": "pass" }), "default: unknown variant"),
        (json!({ "rules": [{ "action": "deny", "methods": "GET" }], "dryrun": true }), "dryrun: unknown field"),
    ] {
        let message = refused(config);
        assert!(message.starts_with(expected), "{message}");
    }
}
