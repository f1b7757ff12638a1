//! The filter as a whole.

use meshup_sdk::testing::{self, Finished, Tester, json};

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn tester(config: impl Serialize) -> Tester {
    testing::filter(fault).config(config)
}

fn run(tester: &mut Tester, req: Request) -> Finished {
    tester.run(req, |_| Response::new(204))
}

/// How many of a thousand requests were delayed, and how many aborted.
fn of_a_thousand(config: impl Serialize) -> (usize, usize) {
    let mut tester = tester(config);
    let done: Vec<_> = (0..1000).map(|_| run(&mut tester, Request::get("/"))).collect();
    (done.iter().filter(|done| !done.slept.is_empty()).count(), done.iter().filter(|done| done.status() == 503).count())
}

#[test]
fn a_delayed_request_goes_on_afterwards() {
    let mut tester = tester(json!({ "delay": { "duration": "200ms" } }));
    let done = run(&mut tester, Request::get("/a"));
    assert_eq!((done.status(), done.passed, done.slept), (204, true, vec![MS(200)]));
    assert_eq!(tester.metric("fault_injected_total", [("fault", "delay")]), [1.0]);
    assert_eq!(tester.variable(VARIABLE).as_deref(), Some("delay"));
}

#[test]
fn jitter_makes_delays_longer_by_up_to_itself() {
    let mut tester = tester(json!({ "delay": { "duration": "100ms", "jitter": "50ms" } }));
    let slept: Vec<_> = (0..200).map(|_| run(&mut tester, Request::get("/")).slept[0]).collect();
    assert!(slept.iter().all(|slept| (MS(100)..=MS(150)).contains(slept)));
    assert!(slept.iter().any(|slept| *slept < MS(110)) && slept.iter().any(|slept| *slept > MS(140)));
}

#[test]
fn an_aborted_request_goes_nowhere() {
    let mut tester = tester(json!({ "abort": { "status": 418, "body": "{}", "content_type": "application/json" } }));
    let done = run(&mut tester, Request::get("/a"));
    assert_eq!((done.status(), done.text(), done.sent.len()), (418, "{}", 0));
    assert_eq!(done.header("content-type"), Some("application/json"));
    assert_eq!(tester.metric("fault_injected_total", [("fault", "abort")]), [1.0]);
    assert_eq!(tester.variable(VARIABLE).as_deref(), Some("abort"));
}

#[test]
fn an_abort_without_more_is_a_503_that_says_so() {
    let done = run(&mut tester(json!({ "abort": {} })), Request::get("/"));
    assert_eq!((done.status(), done.text()), (503, "injected fault\n"));
    let done = run(&mut tester(json!({ "abort": { "body": "" } })), Request::get("/"));
    assert_eq!((done.status(), done.headers().len(), done.body().len()), (503, 0, 0));
}

#[test]
fn both_faults_together_delay_first() {
    let mut tester = tester(json!({ "delay": { "duration": "1s" }, "abort": {} }));
    let done = run(&mut tester, Request::get("/"));
    assert_eq!((done.status(), done.slept, done.sent.len()), (503, vec![MS(1000)], 0));
    assert_eq!(tester.variable(VARIABLE).as_deref(), Some("delay+abort"));
}

#[test]
fn shares_are_percent_with_fractions() {
    let (delayed, aborted) =
        of_a_thousand(json!({ "delay": { "duration": "1ms", "percent": 12.5 }, "abort": { "percent": 50 } }));
    assert!((80..170).contains(&delayed) && (430..570).contains(&aborted), "{delayed} {aborted}");
    let (delayed, aborted) =
        of_a_thousand(json!({ "delay": { "duration": "1ms", "percent": 0 }, "abort": { "percent": 0.1 } }));
    assert!(delayed == 0 && aborted < 10, "{delayed} {aborted}");
}

#[test]
fn a_request_outside_the_share_is_passed_on_at_once() {
    let mut tester = tester(json!({ "delay": { "duration": "1ms", "percent": 0 }, "abort": { "percent": 0 } }));
    let done = run(&mut tester, Request::get("/"));
    assert_eq!((done.passed, done.slept.len()), (true, 0));
    assert_eq!(tester.variable(VARIABLE), None);
    assert!(tester.metric("fault_injected_total", [("fault", "delay")]).is_empty());
}

#[test]
fn only_requests_with_the_headers_are_meant() {
    let mut tester = tester(json!({
        "delay": { "duration": "1s", "headers": { "X-Fault": "delay" } },
        "abort": { "headers": { "x-fault": "abort", "x-tester": "*" } },
    }));
    let mut outcome = |headers: &[(&str, &str)]| {
        let mut req = Request::get("/");
        headers.iter().for_each(|(name, value)| req.headers_mut().append(name, value));
        let done = run(&mut tester, req);
        (done.slept.len(), done.status())
    };
    assert_eq!(outcome(&[]), (0, 204));
    assert_eq!(outcome(&[("x-fault", "delays")]), (0, 204));
    assert_eq!(outcome(&[("x-fault", "delay")]), (1, 204));
    assert_eq!(outcome(&[("x-fault", "abort")]), (0, 204));
    assert_eq!(outcome(&[("x-fault", "abort"), ("x-tester", "")]), (0, 503));
    assert_eq!(outcome(&[("x-fault", "abort"), ("x-fault", "delay"), ("x-tester", "me")]), (1, 503));
}

#[test]
fn grpc_requests_get_their_own_status() {
    let mut tester = tester(json!({ "abort": { "status": 500, "grpc_status": 14 } }));
    let mut aborted = |content_type: &str| {
        let done = run(&mut tester, Request::post("/a.B/C").with_header("content-type", content_type));
        (done.status(), done.header("grpc-status").map(str::to_owned), done.body().is_empty())
    };
    let grpc = (200, Some("14".to_owned()), true);
    assert_eq!((aborted("application/grpc"), aborted("application/grpc+proto")), (grpc.clone(), grpc));
    for other in ["application/json", "application/grpc-web"] {
        assert_eq!(aborted(other), (500, None, false));
    }
}

#[test]
fn refusals_name_the_key() {
    for (config, expected) in [
        (json!({}), "no fault: give `delay` or `abort`"),
        (json!({ "delay": {} }), "delay: missing field `duration`"),
        (json!({ "delay": { "duration": "0s" } }), "delay: duration: a delay takes some time"),
        (json!({ "delay": { "duration": 5 } }), "delay.duration: invalid type"),
        (json!({ "delay": { "duration": "1s", "percent": 101 } }), "delay.percent: expected a number from 0 to 100"),
        (json!({ "abort": { "percent": -0.1 } }), "abort.percent: expected a number from 0 to 100"),
        (json!({ "abort": { "percent": "5%" } }), "abort.percent: invalid type"),
        (json!({ "abort": { "status": 99 } }), "abort: status: invalid status 99"),
        (json!({ "abort": { "grpc_status": 0 } }), "abort: grpc_status: invalid status 0: expected 1 to 16"),
        (json!({ "abort": { "headers": { "a b": "1" } } }), "abort.headers.a b: invalid header name"),
        (json!({ "abort": { "header": {} } }), "abort.header: unknown field"),
        (json!({ "aborts": {} }), "aborts: unknown field"),
    ] {
        let message = tester(&config).configure().unwrap_err();
        assert!(message.contains(expected), "{config}: {message}");
    }
}
