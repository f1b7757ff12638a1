//! What a client is told of its limit, and the answer when it is over it.
//!
//! **Invariant:** `Limit` is the size of the bucket, so that `Remaining` is never more.

use meshup_sdk::prelude::*;

use crate::bucket::{Bucket, Taken};

/// Which headers tell of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Style {
    /// `RateLimit-Limit`, `-Remaining` and `-Reset`, as up to draft-ietf-httpapi-ratelimit-headers-06.
    #[default]
    Classic,
    /// `RateLimit-Policy` and `RateLimit`, as from draft-ietf-httpapi-ratelimit-headers-08.
    Draft,
    None,
}

/// The headers of this filter.
#[derive(Debug)]
pub(crate) struct RateLimitHeaders {
    pub(crate) on_passed: bool,
    style: Style,
    /// The bucket's size: by itself, or as a policy.
    limit: String,
}

impl RateLimitHeaders {
    pub(crate) fn new(style: Style, on_passed: bool, bucket: &Bucket, burst: u64) -> Self {
        let limit = match style {
            Style::Draft => format!("\"default\";q={burst};w={}", seconds(bucket.capacity())),
            _ => burst.to_string(),
        };
        Self { on_passed, style, limit }
    }

    /// Adds what the bucket looks like. What services behind say about limits of their own is replaced.
    pub(crate) fn tell(&self, res: &mut Response, taken: Taken) {
        let mut headers = res.headers_mut();
        match self.style {
            Style::None => {}
            Style::Classic => {
                headers.set("ratelimit-limit", &self.limit);
                headers.set("ratelimit-remaining", taken.left.to_string());
                headers.set("ratelimit-reset", seconds(taken.full_in).to_string());
            }
            Style::Draft => {
                headers.set("ratelimit-policy", &self.limit);
                let until = if taken.left == 0 && !taken.wait.is_zero() { taken.wait } else { taken.full_in };
                headers.set("ratelimit", format!("\"default\";r={};t={}", taken.left, seconds(until)));
            }
        }
    }

    /// The answer over the limit; without `taken` it is not known how far.
    pub(crate) fn refusal(&self, taken: Option<Taken>) -> Response {
        const BODY: &str = "{\"error\":\"too-many-requests\",\"message\":\"the rate limit is exceeded\"}\n";
        let wait = taken.map_or(1, |taken| seconds(taken.wait).max(1));
        let mut res = Response::new(429)
            .with_header("retry-after", wait.to_string())
            .with_header("content-type", "application/json")
            .with_body(BODY);
        if let Some(taken) = taken {
            self.tell(&mut res, taken);
        }
        res
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
