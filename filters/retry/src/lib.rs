//! The bundled filter `retry`: sends a request again when it failed.
//!
//! Which failures, how often, how soon and how many at once is configuration; `README.md` beside this crate describes
//! every key. It makes no responses: the client gets the first good one, or the last bad one untouched. It does not
//! choose endpoints (the host does, anew for each try), and it cannot see a failure that comes after the response's
//! head, such as a gRPC status in trailers.
//!
//! **Invariant:** a request is tried again only when its method allows it, its body can be replayed, tries are left,
//! and the budget has room.

mod backoff;
mod budget;
mod condition;
mod method;
mod retry_after;
#[cfg(test)]
mod tests;

use backoff::Backoff;
use budget::{Active, Budget};
use condition::Conditions;
use meshup_sdk::prelude::*;
use method::Methods;

static RETRIES: Counter<1> = Counter::new("retry_attempts_total", ["reason"]);
static OUTCOMES: Counter<1> = Counter::new("retry_outcomes_total", ["outcome"]);

#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
struct Config {
    attempts: u32,
    per_try_timeout: Option<Duration>,
    on: Conditions,
    methods: Methods,
    backoff: Backoff,
    max_retry_after: Duration,
    budget: Budget,
    attempt_header: Option<HeaderName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default = "default_attempts")]
    attempts: u32,
    #[serde(default, with = "duration")]
    per_try_timeout: Option<Duration>,
    #[serde(default)]
    on: Conditions,
    #[serde(default)]
    methods: Methods,
    #[serde(default)]
    backoff: Backoff,
    #[serde(default = "default_max_retry_after", with = "duration")]
    max_retry_after: Duration,
    #[serde(default)]
    budget: Budget,
    attempt_header: Option<HeaderName>,
}

fn default_attempts() -> u32 {
    3
}

fn default_max_retry_after() -> Duration {
    Duration::from_secs(5)
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        if !(1..=10).contains(&raw.attempts) {
            return Err(format!("attempts: invalid number {}: expected 1 to 10 tries", raw.attempts));
        }
        if raw.per_try_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err("per_try_timeout: a try needs some time; leave it out for no limit".to_owned());
        }
        Ok(Self {
            attempts: raw.attempts,
            per_try_timeout: raw.per_try_timeout,
            on: raw.on,
            methods: raw.methods,
            backoff: raw.backoff,
            max_retry_after: raw.max_retry_after,
            budget: raw.budget,
            attempt_header: raw.attempt_header,
        })
    }
}

/// What became of an exchange in which something failed.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Recovered,
    Exhausted,
    NotReplayable,
    RetryAfterTooLong,
    BudgetExceeded,
}

impl Outcome {
    fn count(self) {
        let outcome = match self {
            Self::Recovered => "recovered",
            Self::Exhausted => "exhausted",
            Self::NotReplayable => "not-replayable",
            Self::RetryAfterTooLong => "retry-after-too-long",
            Self::BudgetExceeded => "budget-exceeded",
        };
        OUTCOMES.with([outcome]).add(1);
    }
}

impl Config {
    async fn attempt(&self, attempt: u32, req: &mut Request, next: &Next) -> Response {
        if let Some(header) = &self.attempt_header {
            req.headers_mut().set(header, attempt.to_string());
        }
        match self.per_try_timeout {
            Some(timeout) => next.run(req).timeout(timeout).await.into_response(),
            None => next.run(req).await,
        }
    }

    /// How long to wait before the next try, or why there is none. `res` is what failed.
    fn pause(&self, attempt: u32, res: &Response, active: &mut Active<'_>) -> Result<Duration, Outcome> {
        if attempt >= self.attempts {
            return Err(Outcome::Exhausted);
        }
        if !res.replayable() {
            return Err(Outcome::NotReplayable);
        }
        let retry_after = retry_after::of(res).unwrap_or_default();
        if retry_after > self.max_retry_after {
            return Err(Outcome::RetryAfterTooLong);
        }
        if !active.begin_retry() {
            return Err(Outcome::BudgetExceeded);
        }
        Ok(retry_after.saturating_add(self.backoff.pause(attempt)))
    }
}

#[meshup_sdk::filter]
async fn retry(config: &Config, mut req: Request, next: Next) -> Response {
    if !config.methods.contain(req.method()) {
        return next.pass(req);
    }
    let mut active = config.budget.enter();
    let mut attempt = 1;
    loop {
        let res = config.attempt(attempt, &mut req, &next).await;
        let Some(failure) = config.on.failure(&res) else {
            if attempt > 1 {
                Outcome::Recovered.count();
            }
            return res;
        };
        let pause = match config.pause(attempt, &res, &mut active) {
            Ok(pause) => pause,
            Err(outcome) => {
                outcome.count();
                return res;
            }
        };
        RETRIES.with([&failure.label()]).add(1);
        drop(res);
        sleep(pause).await;
        attempt += 1;
    }
}
