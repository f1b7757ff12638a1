//! The configuration, checked, with everything computed that no request changes.
//!
//! **Invariant:** what is told of the limit and what is counted is the same bucket.

use meshup_sdk::prelude::*;

use crate::{
    bucket::{Bucket, Taken},
    decision::{Decision, Decisions},
    headers::{RateLimitHeaders, Style},
    key::{Key, Part},
};

/// The filter's configuration; `README.md` lists the keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) headers: RateLimitHeaders,
    pub(crate) decisions: Decisions,
    bucket: Bucket,
    key: Key,
    on_state_full: OnStateFull,
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    limit: u64,
    #[serde(default = "second", with = "duration")]
    per: Duration,
    burst: Option<u64>,
    #[serde(default = "client")]
    key: Vec<Part>,
    #[serde(default = "network")]
    ipv6_prefix: u32,
    #[serde(default)]
    headers: Style,
    #[serde(default)]
    headers_on_passed: bool,
    #[serde(default)]
    on_state_full: OnStateFull,
    #[serde(default)]
    dry_run: bool,
}

/// What a request gets for which no bucket can be kept.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnStateFull {
    #[default]
    Allow,
    Deny,
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn client() -> Vec<Part> {
    vec![Part::Client]
}

fn network() -> u32 {
    64
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        let burst = raw.burst.unwrap_or(raw.limit);
        let bucket = bucket(raw.limit, raw.per, burst)?;
        if !(1..=128).contains(&raw.ipv6_prefix) {
            return Err(format!("ipv6_prefix: invalid number {}: expected 1 to 128 bits", raw.ipv6_prefix));
        }
        if let Some((index, _)) = raw.key.iter().enumerate().find(|(index, part)| raw.key[..*index].contains(part)) {
            return Err(format!("key[{index}]: the same part twice"));
        }
        if raw.headers_on_passed && raw.headers == Style::None {
            return Err("headers_on_passed: there are none with `headers = \"none\"`".to_owned());
        }
        Ok(Self {
            headers: RateLimitHeaders::new(raw.headers, raw.headers_on_passed, &bucket, burst),
            decisions: Decisions::default(),
            bucket,
            key: Key::new(raw.key, raw.ipv6_prefix),
            on_state_full: raw.on_state_full,
            dry_run: raw.dry_run,
        })
    }
}

fn bucket(limit: u64, per: Duration, burst: u64) -> Result<Bucket, String> {
    if limit == 0 || burst == 0 {
        let key = if limit == 0 { "limit" } else { "burst" };
        return Err(format!("{key}: 0 would refuse every request"));
    }
    Bucket::new(limit, per, burst).ok_or_else(|| {
        "limit: expected at most one request per microsecond, and a burst that is refilled within ten years".to_owned()
    })
}

impl Config {
    /// Takes a token from the request's bucket.
    pub(crate) fn take(&self, req: &Request) -> Result<Taken, state::HostError> {
        let key = self.key.of(req);
        let swap =
            |expected: Option<&[u8]>, value: [u8; 8], ttl| state::compare_and_swap(&key, expected, value, Some(ttl));
        let taken = self.bucket.take_shared(clock::monotonic(), || state::get(&key), swap);
        taken.inspect_err(|error| self.decisions.count_state_full(*error))
    }

    /// What becomes of a request; `None` when the state is full.
    pub(crate) fn decide(&self, taken: Option<&Taken>) -> Decision {
        let within = match (taken, self.on_state_full) {
            (Some(taken), _) => taken.wait.is_zero(),
            (None, OnStateFull::Allow) => true,
            (None, OnStateFull::Deny) => false,
        };
        match (within, self.dry_run) {
            (true, _) => Decision::Allow,
            (false, true) => Decision::DryRunDeny,
            (false, false) => Decision::Deny,
        }
    }
}
