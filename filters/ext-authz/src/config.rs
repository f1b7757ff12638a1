//! The configuration, checked.
//!
//! **Invariant:** the service is asked either at one path or below a prefix.

use meshup_sdk::prelude::*;

use crate::{
    check::{Check, Host, RequestHeaders, Target},
    decision::OnFailure,
};

const SET_COOKIE: &str = "set-cookie";

/// The filter's configuration; `README.md` lists the keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) upstream: String,
    pub(crate) check: Check,
    pub(crate) to_upstream: Copied,
    pub(crate) to_client: Copied,
    denial_headers: Copied,
    pub(crate) body_limit: usize,
    pub(crate) timeout: Duration,
    pub(crate) on_failure: OnFailure,
    failure_status: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    upstream: String,
    path: Option<String>,
    path_prefix: Option<String>,
    host: Option<Host>,
    #[serde(default = "default_request_headers")]
    request_headers: Vec<HeaderName>,
    #[serde(default)]
    to_upstream: Vec<HeaderName>,
    #[serde(default)]
    to_client: Vec<HeaderName>,
    #[serde(default = "default_denial_headers")]
    denial_headers: Vec<HeaderName>,
    #[serde(default = "default_body_limit", with = "size")]
    body_limit: usize,
    #[serde(default = "default_timeout", with = "duration")]
    timeout: Duration,
    #[serde(default)]
    on_failure: OnFailure,
    #[serde(default = "default_failure_status")]
    failure_status: u16,
}

fn names<const N: usize>(names: [&'static str; N]) -> Vec<HeaderName> {
    names.map(HeaderName::from_static).to_vec()
}

/// What tells who it is, how they want to be answered, and which request it was.
fn default_request_headers() -> Vec<HeaderName> {
    names(["authorization", "cookie", "accept", "x-requested-with", "user-agent", "x-request-id", "traceparent"])
}

fn default_denial_headers() -> Vec<HeaderName> {
    names([
        "www-authenticate",
        "location",
        SET_COOKIE,
        "content-type",
        "content-encoding",
        "cache-control",
        "retry-after",
    ])
}

fn default_body_limit() -> usize {
    64 << 10
}

fn default_timeout() -> Duration {
    Duration::from_secs(1)
}

fn default_failure_status() -> u16 {
    503
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        if raw.upstream.is_empty() {
            return Err("upstream: empty".to_owned());
        }
        if raw.timeout.is_zero() {
            return Err("timeout: the service needs some time to answer".to_owned());
        }
        if !(400..=599).contains(&raw.failure_status) {
            return Err(format!("failure_status: invalid status {}: expected 400 to 599", raw.failure_status));
        }
        no_star("to_upstream", &raw.to_upstream)?;
        no_star("to_client", &raw.to_client)?;
        no_star("denial_headers", &raw.denial_headers)?;
        Ok(Self {
            upstream: raw.upstream,
            check: Check {
                target: Target::new(raw.path, raw.path_prefix)?,
                host: raw.host,
                headers: RequestHeaders::new(raw.request_headers, &raw.to_upstream),
            },
            to_upstream: Copied(raw.to_upstream),
            to_client: Copied(raw.to_client),
            denial_headers: Copied(raw.denial_headers),
            body_limit: raw.body_limit,
            timeout: raw.timeout,
            on_failure: raw.on_failure,
            failure_status: raw.failure_status,
        })
    }
}

/// What a service may set is listed one by one.
fn no_star(key: &str, names: &[HeaderName]) -> Result<(), String> {
    match names.iter().any(|name| **name == *"*") {
        true => Err(format!("{key}: \"*\" stands for all headers in request_headers alone; list the names")),
        false => Ok(()),
    }
}

impl Config {
    /// The service's own answer, for the client.
    pub(crate) async fn denial(&self, mut answer: Response) -> Response {
        let mut res = Response::new(answer.status());
        self.denial_headers.add(&mut res.headers_mut(), Some(answer.headers()));
        match answer.body(self.body_limit).await {
            Ok(body) if !body.is_empty() => res.with_body(body),
            _ => res,
        }
    }

    /// What a request gets that the service could not be asked about.
    pub(crate) fn unavailable(&self) -> Response {
        const BODY: &str =
            "{\"error\":\"authorization-unavailable\",\"message\":\"the authorization service did not answer\"}\n";
        Response::new(self.failure_status).with_header("content-type", "application/json").with_body(BODY)
    }
}

/// Headers that are copied from the service's answer.
#[derive(Debug)]
pub(crate) struct Copied(Vec<HeaderName>);

impl Copied {
    /// Whether the answer has any of them.
    pub(crate) fn any_in(&self, said: Headers<'_>) -> bool {
        self.0.iter().any(|name| said.contains(name))
    }

    /// Removes every one of them and copies those that are there: what the client sent never stays.
    pub(crate) fn replace(&self, target: &mut HeadersMut<'_>, said: Option<Headers<'_>>) {
        for name in &self.0 {
            target.remove(name);
            copy(name, target, said);
        }
    }

    /// Copies those that are there in place of others of that name; cookies beside them.
    pub(crate) fn add(&self, target: &mut HeadersMut<'_>, said: Option<Headers<'_>>) {
        for name in &self.0 {
            if **name != *SET_COOKIE && said.is_some_and(|said| said.contains(name)) {
                target.remove(name);
            }
            copy(name, target, said);
        }
    }
}

fn copy(name: &str, target: &mut HeadersMut<'_>, said: Option<Headers<'_>>) {
    let Some(said) = said else { return };
    said.get_all(name).for_each(|value| target.append(name, value));
}
