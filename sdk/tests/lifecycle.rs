//! How exchanges begin and end, and what a filter must not do in between.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use meshup_sdk::{
    filter::Filter,
    prelude::*,
    testing::{self, Reply, json},
};

#[derive(Deserialize)]
struct Counting {
    #[serde(skip)]
    exchanges: Cell<u32>,
}

async fn counting(config: &'static Counting, req: Request, next: Next) -> Response {
    config.exchanges.set(config.exchanges.get() + 1);
    req.on_end(|summary| info!("{} {} {:?}", config.exchanges.get(), summary.status, summary.outcome));
    next.run(&req).await
}

#[test]
fn on_end_runs_once_per_exchange_and_may_keep_the_configuration() {
    let mut tester = testing::filter(counting).config(json!({}));
    tester.run(Request::get("/"), |_| Response::new(200));
    tester.run(Request::get("/"), |_| Response::new(404));
    let logs: Vec<_> = tester.logs().into_iter().map(|line| line.text).collect();
    assert_eq!(logs, ["1 200 Complete", "2 404 Complete"]);
}

#[test]
fn a_client_that_goes_away_ends_the_wait_and_still_ends_the_exchange() {
    struct Dropped;
    impl Drop for Dropped {
        fn drop(&mut self) {
            info!("dropped");
        }
    }
    async fn waits(req: Request, next: Next) -> Response {
        let _guard = Dropped;
        req.on_end(|summary| info!("{:?}", summary.outcome));
        next.run(&req).await
    }
    let mut tester = testing::filter(waits);
    let done = tester.run(Request::get("/"), |_| Reply::client_gone());
    assert!(done.cancelled);
    let logs: Vec<_> = tester.logs().into_iter().map(|line| line.text).collect();
    assert_eq!(logs, ["dropped", "ClientAbort"]);
    assert_eq!(tester.run(Request::get("/"), |_| Response::new(200)).status(), 200);
}

#[test]
fn the_summary_tells_what_the_host_knows() {
    async fn summarize(req: Request, next: Next) -> Response {
        let res = next.run(&req).await;
        res.on_end(|summary| info!("{summary:?}"));
        res
    }
    let mut tester = testing::filter(summarize).outcome(Outcome::UpstreamAbort);
    tester.run(Request::post("/").with_body("four"), |_| {
        Reply::from(Response::new(200).with_header("grpc-status", "7").with_body("12345"))
            .after(Duration::from_millis(20))
    });
    let line = &tester.logs()[0].text;
    for part in [
        "status: 200",
        "duration: 20ms",
        "upstream_duration: Some(20ms)",
        "request_bytes: 4",
        "response_bytes: 5",
        "grpc_status: Some(7)",
        "outcome: UpstreamAbort",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn a_configuration_can_be_derived_and_refuse_itself() {
    #[derive(Deserialize)]
    struct Raw {
        low: u32,
        high: u32,
    }
    #[derive(Deserialize)]
    #[serde(try_from = "Raw")]
    struct Range(std::ops::Range<u32>);
    impl TryFrom<Raw> for Range {
        type Error = String;
        fn try_from(Raw { low, high }: Raw) -> Result<Self, String> {
            if low < high { Ok(Self(low..high)) } else { Err(format!("low ({low}) is not below high ({high})")) }
        }
    }
    async fn ranged(config: &'static Range, _: Request, _: Next) -> Response {
        (200, config.0.len().to_string()).into_response()
    }
    let tester = |low| testing::filter(ranged).config(json!({ "low": low, "high": 5 }));
    assert_eq!(tester(2).run(Request::get("/"), |_| 200.into_response()).text(), "3");
    assert_eq!(tester(7).configure().unwrap_err(), "low (7) is not below high (5)");
}

#[test]
fn refusals_name_the_key_and_what_is_allowed() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        rules: Vec<Rule>,
        #[serde(default, with = "duration")]
        wait: Option<Duration>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        name: String,
    }
    async fn ruled(config: &'static Outer, req: Request, next: Next) -> Response {
        assert!(config.wait.is_none() || config.rules.iter().all(|rule| rule.name.is_empty()));
        next.pass(req)
    }
    for (config, expected) in [
        (json!({ "wait": "5" }), r#"wait: invalid duration "5": expected a number with a unit"#),
        (json!({ "wiat": "5s" }), "unknown field `wiat`, expected `rules` or `wait`"),
        (json!({ "rules": [{ "name": "a" }, {}] }), "rules[1]: missing field `name`"),
    ] {
        let refused = testing::filter(ruled).config(config).configure().unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    async fn without(req: Request, next: Next) -> Response {
        next.pass(req)
    }
    let refused = testing::filter(without).config(json!({ "x": 1 })).configure().unwrap_err();
    assert!(refused.contains("unknown field `x`"), "{refused}");
}

#[test]
fn misuse_fails_with_a_message_that_says_what_to_do() {
    async fn two_at_once(req: Request, next: Next) -> Response {
        let mut run = Box::pin(next.run(&req));
        let mut nap = Box::pin(sleep(Duration::from_secs(1)));
        std::future::poll_fn(|cx| run.as_mut().poll(cx).map(drop).and(nap.as_mut().poll(cx))).await;
        204.into_response()
    }
    async fn foreign(_: Request, _: Next) -> Response {
        std::future::pending().await
    }
    async fn changes_passed(req: Request, next: Next) -> Response {
        next.pass(req).with_body("x")
    }
    async fn passes_after_a_run(req: Request, next: Next) -> Response {
        let _ = next.run(&req).await;
        next.pass(req)
    }
    async fn bad_header(_: Request, _: Next) -> Response {
        Response::new(200).with_header("x", "a\r\nb")
    }
    async fn owned_header(mut req: Request, next: Next) -> Response {
        req.headers_mut().set("Connection", "close");
        next.pass(req)
    }
    async fn owned_ahead(req: Request, next: Next) -> Response {
        next.pass(req).with_header("content-length", "1")
    }
    assert!(panic_of(two_at_once).contains("one operation at a time"));
    assert!(panic_of(foreign).contains("can only await what meshup-sdk offers"));
    assert!(panic_of(changes_passed).contains("use `next.run(&req).await`"));
    assert!(panic_of(passes_after_a_run).contains("cannot follow `next.run`"));
    assert!(panic_of(bad_header).contains("refuses the value"));
    assert!(panic_of(owned_ahead).contains("owns the header \"content-length\""));
    assert!(panic_of(owned_header).contains("owns the header \"connection\""));
}

fn panic_of<F: Filter<K>, K: 'static>(filter: F) -> String {
    let mut tester = testing::filter(filter);
    let run = AssertUnwindSafe(|| tester.run(Request::get("/"), |_| Response::new(200)));
    let payload = catch_unwind(run).expect_err("the filter is wrong");
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap().to_string())
}

trait And {
    fn and<T>(self, other: std::task::Poll<T>) -> std::task::Poll<()>;
}

impl And for std::task::Poll<()> {
    fn and<T>(self, other: std::task::Poll<T>) -> std::task::Poll<()> {
        if self.is_ready() && other.is_ready() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }
}

#[test]
fn closures_are_filters_too() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let paths = Rc::clone(&seen);
    let record = move |req: Request, next: Next| {
        paths.borrow_mut().push(req.path().to_owned());
        async move { next.pass(req) }
    };
    let mut tester = testing::filter(record);
    tester.run(Request::get("/a?b"), |_| Response::new(200));
    assert_eq!(*seen.borrow(), ["/a"]);
}

#[test]
fn shared_state_metrics_and_clock_last_from_one_exchange_to_the_next() {
    static HITS: Counter = Counter::new("hits_total", []);
    static SIZES: Histogram<1> = Histogram::new("sizes_bytes", ["kind"]);
    static LEVEL: Gauge = Gauge::new("level", []);
    async fn uses(_: Request, _: Next) -> Response {
        HITS.add(2);
        SIZES.with(["a"]).record(1.5);
        LEVEL.set(4.0);
        LEVEL.add(-1.0);
        let swapped = state::compare_and_swap("once", None, "mine", Some(Duration::from_secs(5)));
        let sum = state::add("sum", 3, None);
        (200, format!("{swapped:?} {sum:?} {:?}", clock::monotonic())).into_response()
    }
    let mut tester = testing::filter(uses);
    let mut run = || tester.run(Request::get("/"), |_| Response::new(200)).text().to_owned();
    assert_eq!(run(), "Ok(true) Ok(3) 0ns");
    assert_eq!(run(), "Ok(false) Ok(6) 0ns");
    tester.advance(Duration::from_secs(6));
    assert_eq!(tester.run(Request::get("/"), |_| Response::new(200)).text(), "Ok(true) Ok(9) 6s");
    assert_eq!(tester.metric("hits_total", []), [6.0]);
    assert_eq!(tester.metric("sizes_bytes", [("kind", "a")]), [1.5, 1.5, 1.5]);
    assert_eq!(tester.metric("level", []), [3.0]);
    assert_eq!(tester.state("once").as_deref(), Some(&b"mine"[..]));
}
