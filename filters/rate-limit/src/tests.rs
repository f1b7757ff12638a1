//! The filter as a whole.

use meshup_sdk::testing::{self, Finished, Tester, json};

use super::*;

fn tester(config: impl Serialize) -> Tester {
    testing::filter(rate_limit).config(config)
}

fn run(tester: &mut Tester, req: Request) -> Finished {
    tester.run(req, |_| Response::new(200).with_header("ratelimit-limit", "from behind"))
}

fn statuses<const N: usize>(tester: &mut Tester) -> [u16; N] {
    [(); N].map(|()| run(tester, Request::get("/")).status())
}

fn decisions(tester: &Tester, decision: &str) -> f64 {
    tester.metric("rate_limit_decisions_total", [("decision", decision)]).first().copied().unwrap_or_default()
}

#[test]
fn a_burst_passes_and_then_what_is_refilled() {
    let mut tester = tester(json!({ "limit": 60, "per": "1m", "burst": 2 }));
    assert_eq!(statuses(&mut tester), [200, 200, 429, 429]);
    tester.advance(Duration::from_millis(999));
    assert_eq!(statuses(&mut tester), [429]);
    tester.advance(Duration::from_millis(1));
    assert_eq!(statuses(&mut tester), [200, 429]);
    tester.advance(Duration::from_secs(3600));
    assert_eq!(statuses(&mut tester), [200, 200, 429]);
    assert_eq!((decisions(&tester, "allow"), decisions(&tester, "deny")), (5.0, 5.0));
}

#[test]
fn without_a_burst_the_limit_is_one() {
    let mut tester = tester(json!({ "limit": 3 }));
    assert_eq!(statuses(&mut tester), [200, 200, 200, 429]);
    tester.advance(Duration::from_secs(1));
    assert_eq!(statuses(&mut tester), [200, 200, 429]);
}

#[test]
fn what_passes_costs_one_call_and_is_left_alone() {
    let mut tester = tester(json!({ "limit": 1 }));
    let done = run(&mut tester, Request::get("/"));
    assert!(done.passed);
    assert_eq!((done.header("ratelimit-limit"), done.header("ratelimit-remaining")), (Some("from behind"), None));
    assert_eq!(tester.variable(DECISION_VARIABLE), None);
}

#[test]
fn a_refusal_says_when_to_come_back() {
    for (headers, expected) in [
        ("classic", [Some("2"), Some("0"), Some("120"), None, None]),
        ("draft", [None, None, None, Some("\"default\";q=2;w=120"), Some("\"default\";r=0;t=60")]),
        ("none", [None; 5]),
    ] {
        let mut tester = tester(json!({ "limit": 1, "per": "1m", "burst": 2, "headers": headers }));
        assert_eq!(statuses(&mut tester), [200, 200]);
        let done = run(&mut tester, Request::get("/"));
        assert_eq!((done.status(), done.sent.len(), done.header("retry-after")), (429, 0, Some("60")));
        assert_eq!(done.header("content-type"), Some("application/json"));
        assert_eq!(done.text(), "{\"error\":\"too-many-requests\",\"message\":\"the rate limit is exceeded\"}\n");
        let names = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy", "ratelimit"];
        assert_eq!(names.map(|name| done.header(name)), expected);
        assert_eq!(tester.variable(DECISION_VARIABLE).as_deref(), Some("deny"));
        tester.advance(Duration::from_millis(59_001));
        assert_eq!(run(&mut tester, Request::get("/")).header("retry-after"), Some("1"));
    }
}

#[test]
fn passed_responses_can_tell_of_the_limit_too() {
    let told = |style: &str, names: [&str; 3]| {
        let config = json!({ "limit": 10, "headers_on_passed": true, "headers": style });
        let done = run(&mut tester(config), Request::get("/"));
        assert!(done.passed);
        names.map(|name| done.header(name).unwrap_or_default().to_owned())
    };
    let classic = told("classic", ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]);
    assert_eq!(classic, ["10", "9", "1"]);
    let draft = told("draft", ["ratelimit-policy", "ratelimit", "ratelimit-limit"]);
    assert_eq!(draft, ["\"default\";q=10;w=1", "\"default\";r=9;t=1", "from behind"]);
}

/// How many of the requests share a bucket with the first one.
fn shared(key: impl Serialize, requests: impl IntoIterator<Item = Request>) -> Vec<bool> {
    let mut tester = tester(json!({ "limit": 1, "per": "1h", "key": key }));
    let mut requests = requests.into_iter();
    assert_eq!(run(&mut tester, requests.next().unwrap()).status(), 200);
    requests.map(|req| run(&mut tester, req).status() == 429).collect()
}

#[test]
fn each_key_has_a_bucket() {
    let with = |name: &'static str, value: &str| Request::get("/").with_header(name, value);
    let requests =
        || [with("x-user", "a"), with("x-user", "a"), with("x-user", "b"), Request::get("/"), Request::get("/x")];
    assert_eq!(shared(json!(["header.X-User"]), requests()), [true, false, false, true]);
    assert_eq!(shared(json!(["client"]), requests()), [true; 4]);
    assert_eq!(shared(json!([]), requests()), [true; 4]);
    assert_eq!(shared(json!(["client", "header.x-user"]), requests()), [true, false, false, true]);
    let host = |authority: &str| Request::get("/").with_authority(authority);
    let hosts = ["a.example", "A.example:8080", "a.example.", "b.example"].map(host);
    assert_eq!(shared(json!(["host"]), hosts), [true, true, false]);
    let routes = [Request::get("/"), Request::get("/")];
    assert_eq!(shared(json!(["route", "variable.jwt.sub", "peer.spiffe"]), routes), [true]);
}

#[test]
fn no_value_looks_like_two() {
    let with = |a: &str, b: &str| Request::get("/").with_header("a", a).with_header("b", b);
    let requests = [with("x", "y"), with("x1:y", ""), with("", "x1:y"), with("x", ""), with("-", "y"), with("x", "y")];
    assert_eq!(shared(json!(["header.a", "header.b"]), requests), [false, false, false, false, true]);
    let absent = [Request::get("/"), Request::get("/").with_header("a", ""), Request::get("/").with_header("a", "-")];
    assert_eq!(shared(json!(["header.a"]), absent), [false, false]);
}

#[test]
fn long_and_binary_values_are_told_apart() {
    let long = |end: &str| Request::get("/").with_header("a", format!("{}{end}", "x".repeat(5_000)));
    assert_eq!(shared(json!(["header.a"]), [long("1"), long("1"), long("2")]), [true, false]);
    let bytes = |value: &[u8]| Request::get("/").with_header("a", value);
    assert_eq!(shared(json!(["header.a"]), [bytes(b"\xff"), bytes(b"\xff"), bytes(b"\xfe")]), [true, false]);
}

#[test]
fn an_ipv6_client_is_its_network() {
    let of = |prefix: u32, clients: &[&str]| -> Vec<u16> {
        let mut tester = tester(json!({ "limit": 1, "per": "1h", "ipv6_prefix": prefix }));
        let mut statuses = Vec::new();
        for client in clients {
            tester = tester.attribute(Attribute::ClientAddress, client);
            statuses.push(run(&mut tester, Request::get("/")).status());
        }
        statuses
    };
    let clients = ["2001:db8::1", "2001:db8::2:0:0:1", "2001:db8:0:1::1", "2001:db8::1"];
    assert_eq!(of(64, &clients), [200, 429, 200, 429]);
    assert_eq!(of(128, &clients), [200, 200, 200, 429]);
    assert_eq!(of(48, &clients), [200, 429, 429, 429]);
    assert_eq!(of(64, &["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3"]), [200, 429, 200, 200]);
    assert_eq!(of(1, &["192.0.2.1", "192.0.2.2"]), [200, 200]);
}

#[test]
fn another_worker_counts_in_the_same_bucket() {
    let mut tester = tester(json!({ "limit": 2, "per": "1h" }));
    assert_eq!(statuses(&mut tester), [200]);
    let key = "=9:192.0.2.1";
    let full_at = u64::from_le_bytes(tester.state(key).unwrap().try_into().unwrap());
    tester.set_state(key, (full_at + 1_800_000_000_000).to_le_bytes());
    assert_eq!(statuses(&mut tester), [429]);
}

#[test]
fn what_else_stands_in_the_state_is_a_full_bucket() {
    let mut tester = tester(json!({ "limit": 1, "per": "1h" }));
    tester.set_state("=9:192.0.2.1", "rubbish");
    assert_eq!(statuses(&mut tester), [200, 429]);
}

#[test]
fn a_dry_run_lets_pass_and_tells_what_would_be() {
    let mut tester = tester(json!({ "limit": 1, "per": "1h", "dry_run": true }));
    assert_eq!(statuses(&mut tester), [200, 200, 200]);
    assert_eq!(tester.variable(DECISION_VARIABLE).as_deref(), Some("dry-run-deny"));
    assert_eq!((decisions(&tester, "allow"), decisions(&tester, "dry-run-deny")), (1.0, 2.0));
}

#[test]
fn a_full_state_allows_or_denies_as_configured() {
    for (choice, dry_run, expected) in [
        (json!("allow"), false, Decision::Allow),
        (json!("deny"), false, Decision::Deny),
        (json!("deny"), true, Decision::DryRunDeny),
    ] {
        let config = json!({ "limit": 1, "on_state_full": choice, "dry_run": dry_run });
        let config: Config = serde_json::from_value(config).unwrap();
        assert_eq!(config.decide(None), expected);
    }
    let config: Config = serde_json::from_value(json!({ "limit": 1 })).unwrap();
    assert_eq!(config.decide(None), Decision::Allow);
    let refusal = config.headers.refusal(None);
    assert_eq!((refusal.status(), refusal.headers().get("retry-after")), (429, Some("1")));
    assert!(!refusal.headers().contains("ratelimit-remaining"));
}

#[test]
fn refusals_name_the_key() {
    for (config, expected) in [
        (json!({}), "missing field `limit`"),
        (json!({ "limit": 0 }), "limit: 0 would refuse every request"),
        (json!({ "limit": -1 }), "limit: invalid value"),
        (json!({ "limit": 1.5 }), "limit: invalid type"),
        (json!({ "limit": 1, "burst": 0 }), "burst: 0 would refuse every request"),
        (json!({ "limit": 1, "per": "1" }), "per: invalid duration \"1\""),
        (json!({ "limit": 1, "per": "0s" }), "limit: expected at most one request per microsecond"),
        (json!({ "limit": 1_000_000_000 }), "limit: expected at most one request per microsecond"),
        (json!({ "limit": 1, "per": "24h", "burst": 10_000 }), "limit: expected at most one request"),
        (json!({ "limit": 1, "key": "client" }), "key: invalid type"),
        (json!({ "limit": 1, "key": ["client", "ip"] }), "key[1]: unknown part \"ip\", expected client, host,"),
        (json!({ "limit": 1, "key": ["header.Host"] }), "key[0]: the header \"host\" belongs to the proxy"),
        (json!({ "limit": 1, "key": ["client", "client"] }), "key[1]: the same part twice"),
        (json!({ "limit": 1, "ipv6_prefix": 0 }), "ipv6_prefix: invalid number 0"),
        (json!({ "limit": 1, "ipv6_prefix": 129 }), "ipv6_prefix: invalid number 129"),
        (json!({ "limit": 1, "headers": "all" }), "headers: unknown variant `all`"),
        (json!({ "limit": 1, "headers": "none", "headers_on_passed": true }), "headers_on_passed: there are none"),
        (json!({ "limit": 1, "on_state_full": "bypass" }), "on_state_full: unknown variant `bypass`"),
        (json!({ "limit": 1, "limits": 2 }), "limits: unknown field `limits`"),
    ] {
        let message = tester(config).configure().unwrap_err();
        assert!(message.starts_with(expected), "{message}");
    }
}
