//! The filter as a whole.

use meshup_sdk::testing::{self, Finished, Reply, SentRequest, Tester, json};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn tester(config: impl Serialize) -> Tester {
    testing::filter(retry).config(config)
}

fn run<R: Into<Reply>>(config: impl Serialize, next: impl FnMut(&SentRequest) -> R) -> Finished {
    tester(config).run(Request::get("/"), next)
}

/// How often a request is sent whose every try ends like this.
fn tries<R: Into<Reply>>(config: impl Serialize, mut reply: impl FnMut() -> R) -> usize {
    run(config, |_| reply()).sent.len()
}

fn outcome(tester: &Tester, outcome: &str) -> Vec<f64> {
    tester.metric("retry_outcomes_total", [("outcome", outcome)])
}

#[test]
fn a_good_response_is_delivered_at_once() {
    let done = run(json!({}), |_| Response::new(200).with_body("hello"));
    assert_eq!((done.status(), done.text(), done.sent.len()), (200, "hello", 1));
    assert_eq!(done.sent[0].deadline, None);
    assert!(done.slept.is_empty());
}

#[test]
fn failures_are_tried_again_with_the_body() {
    let mut tester = tester(json!({ "attempt_header": "X-Attempt" }));
    let done = tester.run(Request::new("PUT", "/orders").with_body("order"), |sent| match sent.attempt {
        1 => Reply::error(ErrorKind::ConnectFailure),
        2 => Response::new(503).into(),
        _ => Response::new(201).with_body("made").into(),
    });
    assert_eq!((done.status(), done.text()), (201, "made"));
    assert!(done.sent.iter().all(|sent| sent.body == b"order"));
    let attempts: Vec<_> = done.sent.iter().map(|sent| sent.header("x-attempt").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert_eq!(tester.metric("retry_attempts_total", [("reason", "connect-failure")]), [1.0]);
    assert_eq!(tester.metric("retry_attempts_total", [("reason", "503")]), [1.0]);
    assert_eq!(outcome(&tester, "recovered"), [1.0]);
}

#[test]
fn the_last_failure_is_delivered_untouched() {
    let mut tester = tester(json!({}));
    let done = tester.run(Request::get("/"), |sent| {
        Response::new(503).with_header("x-try", sent.attempt.to_string()).with_body("sorry")
    });
    assert_eq!((done.status(), done.header("x-try"), done.text()), (503, Some("3"), "sorry"));
    assert_eq!(outcome(&tester, "exhausted"), [1.0]);
}

#[test]
fn attempts_count_the_first_try() {
    for attempts in [1, 2, 10] {
        assert_eq!(tries(json!({ "attempts": attempts }), || Response::new(502)), attempts);
    }
}

#[test]
fn each_condition_means_its_failures() {
    let statuses = [400, 404, 409, 429, 500, 501, 502, 503, 504];
    for (condition, expected) in [
        (json!("5xx"), &[500, 501, 502, 503, 504][..]),
        (json!("gateway-error"), &[502, 503, 504]),
        (json!("retriable-4xx"), &[409]),
        (json!("429"), &[429]),
        (json!(404), &[404]),
        (json!("reset"), &[]),
    ] {
        let config = json!({ "on": [condition], "attempts": 2 });
        let retried = statuses.into_iter().filter(|&status| tries(&config, || Response::new(status)) == 2);
        assert_eq!(retried.collect::<Vec<_>>(), expected, "{condition}");
    }
}

#[test]
fn errors_are_tried_again_where_that_can_help() {
    use ErrorKind as E;
    let all = [E::ConnectFailure, E::Reset, E::BadResponse, E::PerTryTimeout, E::Timeout, E::Overloaded, E::NoUpstream];
    for (condition, expected) in [
        ("connect-failure", &[E::ConnectFailure][..]),
        ("reset", &[E::Reset, E::BadResponse]),
        ("per-try-timeout", &[E::PerTryTimeout]),
        ("timeout", &[E::PerTryTimeout]),
        ("503", &[E::ConnectFailure]),
        ("5xx", &all[..4]),
        ("gateway-error", &all[..4]),
        ("429", &[]),
    ] {
        let config = json!({ "on": [condition], "attempts": 2 });
        let retried = all.into_iter().filter(|&kind| tries(&config, || Reply::error(kind)) == 2);
        assert_eq!(retried.collect::<Vec<_>>(), expected, "{condition}");
    }
}

#[test]
fn a_grpc_status_in_the_head_counts_by_its_name() {
    let config = json!({ "on": ["unavailable", "resource-exhausted", "cancelled"], "methods": ["POST"] });
    for (status, expected) in [("0", 1), ("1", 3), ("2", 1), ("8", 3), ("14", 3), ("16", 1), ("99", 1), ("x", 1)] {
        let done = tester(&config)
            .run(Request::post("/orders.Orders/Get"), |_| Response::new(200).with_header("grpc-status", status));
        assert_eq!(done.sent.len(), expected, "{status}");
    }
    let mut tester = tester(&config);
    tester.run(Request::post("/"), |_| Response::new(200).with_header("grpc-status", "14"));
    assert_eq!(tester.metric("retry_attempts_total", [("reason", "unavailable")]), [2.0]);
}

#[test]
fn a_try_has_its_own_deadline() {
    let config = json!({ "per_try_timeout": "1s" });
    let done = run(&config, |sent| Reply::from(Response::new(200)).after(3 * SECOND - SECOND * sent.attempt));
    assert_eq!((done.status(), done.sent.len()), (200, 2));
    assert!(done.sent.iter().all(|sent| sent.deadline == Some(SECOND)));
    let done = run(&config, |_| Reply::from(Response::new(200)).after(2 * SECOND));
    assert_eq!((done.status(), done.header("x-meshup-error"), done.sent.len()), (504, Some("per-try-timeout"), 3));
}

#[test]
fn other_than_idempotent_methods_pass_unless_listed() {
    for (config, expected) in [
        (json!({}), &["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"][..]),
        (json!({ "methods": ["GET", "POST"] }), &["GET", "POST"]),
        (json!({ "methods": "*" }), &["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "POST", "PATCH"]),
        (json!({ "methods": [] }), &[]),
    ] {
        let methods = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "POST", "PATCH"];
        let retried = methods.into_iter().filter(|method| {
            let done = tester(&config).run(Request::new(method, "/"), |_| Response::new(503));
            assert_eq!(done.passed, done.sent.len() == 1);
            !done.passed
        });
        assert_eq!(retried.collect::<Vec<_>>(), expected, "{config}");
    }
}

#[test]
fn a_body_that_cannot_be_replayed_ends_the_tries() {
    let mut tester = tester(json!({})).without_replay();
    let done = tester.run(Request::new("PUT", "/").with_body("large"), |_| Response::new(503).with_body("sorry"));
    assert_eq!((done.status(), done.text(), done.sent.len()), (503, "sorry", 1));
    assert_eq!(outcome(&tester, "not-replayable"), [1.0]);
}

#[test]
fn pauses_grow_within_their_bounds() {
    let done = run(json!({ "attempts": 4, "backoff": { "base": "100ms", "max": "150ms" } }), |_| Response::new(503));
    let bounds = [100, 150, 150].map(Duration::from_millis);
    assert_eq!(done.slept.len(), 3);
    assert!(done.slept.iter().zip(bounds).all(|(pause, bound)| *pause < bound), "{:?}", done.slept);
    assert_ne!(done.slept[1], done.slept[2]);
    let done = run(json!({ "backoff": { "base": "0ms" } }), |_| Response::new(503));
    assert_eq!((done.sent.len(), done.slept.len()), (3, 0));
}

#[test]
fn retry_after_is_waited_for_up_to_its_limit() {
    let after = |value: &'static str| move |_: &SentRequest| Response::new(503).with_header("retry-after", value);
    let done = run(json!({ "attempts": 2 }), after("5"));
    assert!(done.slept[0] >= 5 * SECOND && done.slept[0] < 6 * SECOND, "{:?}", done.slept);
    let mut tester = tester(json!({ "attempts": 2, "max_retry_after": "4s" }));
    assert_eq!(tester.run(Request::get("/"), after("5")).sent.len(), 1);
    assert_eq!(outcome(&tester, "retry-after-too-long"), [1.0]);
}

#[test]
fn a_retry_needs_room_in_the_budget() {
    let mut tester = tester(json!({ "budget": { "percent": 20, "min_concurrent": 0 } }));
    let done = tester.run(Request::get("/"), |_| Response::new(503).with_body("sorry"));
    assert_eq!((done.status(), done.text(), done.sent.len()), (503, "sorry", 1));
    assert_eq!(outcome(&tester, "budget-exceeded"), [1.0]);
}

#[test]
fn an_exchange_whose_client_goes_away_leaves_the_budget() {
    let mut tester = tester(json!({ "budget": { "percent": 0, "min_concurrent": 1 } }));
    for _ in 0..3 {
        let done = tester.run(Request::get("/"), |sent| match sent.attempt {
            1 => Response::new(503).into(),
            _ => Reply::client_gone(),
        });
        assert!(done.cancelled);
        assert_eq!(done.sent.len(), 2);
    }
    assert!(outcome(&tester, "budget-exceeded").is_empty());
}

#[test]
fn a_wrong_configuration_is_refused_by_its_key() {
    for (config, expected) in [
        (json!({ "attempts": 0 }), "attempts: invalid number 0: expected 1 to 10 tries"),
        (json!({ "attempts": 11 }), "attempts: invalid number 11"),
        (json!({ "attempts": "3" }), "attempts: invalid type: string \"3\", expected u32"),
        (json!({ "tries": 3 }), "tries: unknown field `tries`"),
        (json!({ "per_try_timeout": "1" }), "per_try_timeout: invalid duration \"1\""),
        (json!({ "per_try_timeout": "0s" }), "per_try_timeout: a try needs some time"),
        (json!({ "on": ["5xx", "5x"] }), "on[1]: unknown condition \"5x\": expected \"5xx\", "),
        (json!({ "on": [200] }), "on[0]: unknown condition 200: "),
        (json!({ "on": ["ok"] }), "on[0]: unknown condition \"ok\""),
        (json!({ "on": [true] }), "on[0]: invalid type: boolean `true`, expected a condition or a status"),
        (json!({ "methods": ["GET", "post"] }), "methods[1]: invalid method \"post\""),
        (json!({ "methods": "GET" }), "methods: invalid value: string \"GET\", expected a list of methods"),
        (json!({ "backoff": { "base": "1s", "max": "1ms" } }), "backoff: max 1ms is less than base 1s"),
        (json!({ "backoff": { "max": "2m" } }), "backoff: max 120s is more than 60s"),
        (json!({ "backoff": { "base": "2m" } }), "backoff: max 60s is less than base 120s"),
        (json!({ "budget": { "percent": 101 } }), "budget: invalid percent 101: expected 0 to 100"),
        (json!({ "attempt_header": "a b" }), "attempt_header: invalid header name \"a b\""),
        (json!({ "attempt_header": "TE" }), "attempt_header: the header \"te\" belongs to the proxy"),
    ] {
        let reason = tester(&config).configure().unwrap_err();
        assert!(reason.starts_with(expected), "{reason}");
    }
}

#[test]
fn the_configuration_of_the_design_is_accepted() {
    let config = json!({ "attempts": 3, "per_try_timeout": "1s", "on": ["5xx", "reset", "connect-failure"] });
    assert_eq!(tester(config).configure(), Ok(()));
}
