//! What the claims of a token have to say.
//!
//! **Invariant:** a claim of the wrong type is refused like one that is missing or wrong.

use std::time::Duration;

use serde_json::Value;

use crate::refusal::Refusal;

/// The claims of a token whose signature is valid: a JSON object.
#[derive(Debug)]
pub(crate) struct Claims(pub(crate) Value);

impl Claims {
    /// A claim by name, or, from a `/` on, a part of one by JSON pointer (RFC 6901). A `null` is none.
    pub(crate) fn claim(&self, name: &str) -> Option<&Value> {
        let found = if name.starts_with('/') { self.0.pointer(name) } else { self.0.get(name) };
        found.filter(|value| !value.is_null())
    }
}

/// What is asked of the claims.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) issuers: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) required_claims: Vec<String>,
    pub(crate) require_exp: bool,
    pub(crate) leeway: Duration,
}

impl Rules {
    /// Checks the claims, and gives the time since the Unix epoch from which on they are no longer valid.
    pub(crate) fn check(&self, claims: &Claims, now: Duration) -> Result<Duration, Refusal> {
        let until = self.check_times(claims, now)?;
        if !self.issuers.is_empty() && !claims.claim("iss").is_some_and(|issuer| is_one_of(issuer, &self.issuers)) {
            return Err(Refusal::Issuer);
        }
        if !self.audiences.is_empty() && !claims.claim("aud").is_some_and(|aud| self.is_audience(aud)) {
            return Err(Refusal::Audience);
        }
        match self.required_claims.iter().all(|name| claims.claim(name).is_some()) {
            true => Ok(until),
            false => Err(Refusal::MissingClaim),
        }
    }

    fn check_times(&self, claims: &Claims, now: Duration) -> Result<Duration, Refusal> {
        let until = match time(claims, "exp")? {
            Some(exp) => exp.saturating_add(self.leeway),
            None if self.require_exp => return Err(Refusal::NoExpiry),
            None => Duration::MAX,
        };
        if now >= until {
            return Err(Refusal::Expired);
        }
        match time(claims, "nbf")? {
            Some(nbf) if now.saturating_add(self.leeway) < nbf => Err(Refusal::NotYet),
            _ => Ok(until),
        }
    }

    fn is_audience(&self, aud: &Value) -> bool {
        match aud {
            Value::Array(list) => list.iter().any(|aud| is_one_of(aud, &self.audiences)),
            aud => is_one_of(aud, &self.audiences),
        }
    }
}

fn is_one_of(value: &Value, accepted: &[String]) -> bool {
    value.as_str().is_some_and(|value| accepted.iter().any(|accepted| accepted == value))
}

/// A NumericDate: seconds since the Unix epoch, perhaps with a fraction. One before the epoch counts as the epoch.
fn time(claims: &Claims, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(value) = claims.0.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(Refusal::Malformed("a time is not a number"))?;
    Ok(Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}
