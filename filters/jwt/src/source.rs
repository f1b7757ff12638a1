//! Where a set of keys is fetched.
//!
//! **Invariant:** only 200 with a set that has a usable key is a success.

use meshup_sdk::{fetch::FetchError, prelude::*};
use thiserror::Error;

use crate::key_set::KeySet;

/// Longer sets are refused.
const MAX_BYTES: usize = 128 << 10;

/// A URL on an upstream.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) upstream: String,
    pub(crate) path: String,
    pub(crate) host: Option<String>,
    pub(crate) timeout: Duration,
}

/// Why there is no set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Fetch(ErrorKind),
    #[error("status {0}")]
    Status(u16),
    #[error("{0}")]
    Set(String),
}

impl Failure {
    /// The value of the metric's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Fetch(kind) => kind.as_str(),
            Self::Status(_) => "bad-status",
            Self::Set(_) => "bad-set",
        }
    }
}

impl Source {
    pub(crate) fn new(upstream: String, path: String, host: Option<String>, timeout: Duration) -> Result<Self, String> {
        if upstream.is_empty() {
            return Err("upstream: empty".to_owned());
        }
        if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
            return Err(format!("path: invalid path {path:?}: it begins with a slash"));
        }
        let is_host = |host: &str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
        };
        match host.as_deref().filter(|host| !is_host(host)) {
            Some(host) => Err(format!("host: invalid host {host:?}: expected \"name\" or \"name:port\"")),
            None => Ok(Self { upstream, path, host, timeout }),
        }
    }

    /// Fetches the set.
    pub(crate) async fn fetch(&self) -> Result<KeySet, Failure> {
        let mut req = Request::get(&self.path).with_header("accept", "application/jwk-set+json, application/json");
        if let Some(host) = &self.host {
            req.set_authority(host);
        }
        let answer = fetch(&self.upstream, req).timeout(self.timeout).limit(MAX_BYTES).await;
        let mut res = answer.map_err(|FetchError(kind)| Failure::Fetch(kind))?;
        if res.status() != 200 {
            return Err(Failure::Status(res.status()));
        }
        let body = res.body(MAX_BYTES).await.map_err(|error| Failure::Set(error.to_string()))?;
        KeySet::read(body, clock::monotonic()).map_err(Failure::Set)
    }
}
