//! The filter of the design, literally: a retry is a `for` loop.
//!
//! It holds no policy of which failures are worth another try: the bundled `retry` filter does.
//!
//! **Invariant:** at most `attempts` runs.

use meshup_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    attempts: u32,
    #[serde(with = "duration")]
    per_try_timeout: Duration,
}

#[meshup_sdk::filter]
async fn retry(config: &Config, mut req: Request, next: Next) -> Response {
    let mut last = None;
    for attempt in 1..=config.attempts {
        req.headers_mut().set("x-attempt", attempt.to_string());
        match next.run(&req).timeout(config.per_try_timeout).await {
            Ok(res) if res.status() < 500 => return res,
            outcome => last = Some(outcome),
        }
        sleep(backoff(attempt)).await;
    }
    last.into_response()
}

fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(10) * 2_u32.saturating_pow(attempt - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshup_sdk::testing::{self, Reply, Tester, json};

    fn tester() -> Tester {
        testing::filter(retry).config(json!({ "attempts": 3, "per_try_timeout": "1s" }))
    }

    #[test]
    fn a_good_response_is_returned_at_once() {
        let done = tester().run(Request::get("/"), |_| Response::new(200).with_body("hello"));
        assert_eq!((done.status(), done.text(), done.sent.len()), (200, "hello", 1));
        assert!(done.slept.is_empty());
    }

    #[test]
    fn failures_and_late_responses_are_tried_again() {
        let done = tester().run(Request::post("/").with_body("order"), |sent| match sent.attempt {
            1 => Reply::error(ErrorKind::ConnectFailure),
            2 => Reply::from(Response::new(200)).after(Duration::from_secs(2)),
            _ => Response::new(201).into(),
        });
        assert_eq!(done.status(), 201);
        let attempts: Vec<_> = done.sent.iter().map(|sent| sent.header("x-attempt").unwrap()).collect();
        assert_eq!(attempts, ["1", "2", "3"]);
        assert!(done.sent.iter().all(|sent| sent.body == b"order" && sent.deadline == Some(Duration::from_secs(1))));
        assert_eq!(done.slept, [Duration::from_millis(10), Duration::from_millis(20)]);
    }

    #[test]
    fn the_last_outcome_is_what_the_client_gets() {
        let done = tester().run(Request::get("/"), testing::statuses([500, 502, 503]));
        assert_eq!((done.status(), done.sent.len()), (503, 3));
        let done = tester().run(Request::get("/"), |_| Reply::from(Response::new(200)).after(Duration::from_secs(9)));
        assert_eq!((done.status(), done.header("x-meshup-error")), (504, Some("per-try-timeout")));
    }

    #[test]
    fn a_wrong_configuration_is_refused_by_its_key() {
        let mut tester = testing::filter(retry).config(json!({ "attempts": "x", "per_try_timeout": "1s" }));
        assert_eq!(tester.configure().unwrap_err(), r#"attempts: invalid type: string "x", expected u32"#);
    }
}
