//! Lets requests with a valid JSON Web Token pass; answers all others with 401.
//!
//! Signatures RS256, ES256, EdDSA and HS256 (RFC 7515, 7518, 8037), keys from the configuration or from a URL on an
//! upstream, claims of RFC 7519. What a token's bearer may do beyond that is not its business.
//!
//! ```toml
//! [filters.jwt]
//! module = "builtin:jwt"
//! config = { issuer = "https://issuer.example", audience = "orders", jwks = '{"keys":[...]}', claims_to_headers = { sub = "x-user" } }
//! ```
//!
//! | key | type | default | meaning |
//! |---|---|---|---|
//! | `keys` | list of tables | `[]` | `{ alg, public_key or secret, kid }`: `alg` is RS256, ES256, EdDSA or HS256; `public_key` is PEM; `kid` may be left out |
//! | `jwks` | text or table | none | a JSON Web Key Set; there must be a key here or in `keys`, or `remote_jwks` |
//! | `remote_jwks` | table | none | `{ upstream, path, host, refresh, timeout, cooldown }`: a JSON Web Key Set that is fetched |
//! | `issuer` | text or list | any | `iss` has to be one of these |
//! | `audience` | text or list | any | `aud` has to hold one of these |
//! | `required_claims` | list | `[]` | claims that have to be there |
//! | `require_exp` | bool | `true` | whether `exp` has to be there; where it is, it counts |
//! | `leeway` | duration | `"30s"` | how far the issuer's clock may be off, for `exp` and `nbf` |
//! | `header` | text | `"authorization"` | the header that brings the token |
//! | `prefix` | text | `"Bearer "`, in other headers `""` | what stands before the token; upper and lower case are the same |
//! | `optional` | bool | `false` | whether a request without a token passes; one with a bad token never does |
//! | `forward` | bool | `false` | whether the upstream gets the token too |
//! | `claims_to_headers` | table | `{}` | claim = header for the upstream |
//! | `claims_to_variables` | table | `{ sub = "jwt.sub" }` | claim = variable for later filters and the access log |
//! | `cache` | table | `{ entries = 1024, ttl = "5m" }` | how many verified tokens are remembered per worker, and for how long |
//!
//! **Invariant:** the upstream sees a header of `claims_to_headers` only when this filter wrote it.

mod cache;
mod claims;
mod config;
mod der;
mod grant;
mod jwk;
mod key;
mod key_set;
mod refusal;
mod remote;
mod shared;
mod source;
mod token;

use std::rc::Rc;

use meshup_sdk::prelude::*;

pub use crate::config::Config;
use crate::{grant::Grant, key_set::KeySet, refusal::Refusal};

#[meshup_sdk::filter]
async fn jwt(config: &Config, req: Request, next: Next) -> Response {
    let granted = match presented(config, &req) {
        Ok(token) => verified(config, token).await.map(Some),
        Err(Refusal::NoToken) if config.optional => Ok(None),
        Err(refusal) => Err(refusal),
    };
    match granted {
        Ok(granted) => hand_over(config, req, next, granted.as_deref()),
        Err(refusal) => {
            info!("refused: {refusal}");
            refusal.response()
        }
    }
}

fn hand_over(config: &Config, mut req: Request, next: Next, granted: Option<&Grant>) -> Response {
    match config.handover.apply(&mut req, granted) {
        Ok(()) => next.pass(req),
        Err(error) => {
            error!("the claims do not fit the exchange's variables: {error}");
            Response::new(500)
        }
    }
}

/// The token, when there is exactly one.
fn presented<'a>(config: &Config, req: &'a Request) -> Result<&'a str, Refusal> {
    let headers = req.headers();
    let mut values = headers.get_all(&config.header);
    let value = values.next().ok_or(Refusal::NoToken)?;
    if values.next().is_some() {
        return Err(Refusal::ManyTokens);
    }
    let Some((prefix, token)) = value.split_at_checked(config.prefix.len()) else { return Err(Refusal::NoToken) };
    if !prefix.eq_ignore_ascii_case(config.prefix.as_bytes()) {
        return Err(Refusal::NoToken);
    }
    str::from_utf8(token).map_err(|_| Refusal::Malformed("not text"))
}

async fn verified(config: &Config, token: &str) -> Result<Rc<Grant>, Refusal> {
    let Some(remote) = &config.remote else { return verified_by(config, token, None) };
    let published = match remote.fresh() {
        Some(set) => Some(set),
        None => Box::pin(remote.current()).await,
    };
    let Some(set) = published else {
        // The keys of the configuration are here nevertheless.
        return verified_by(config, token, None).map_err(Refusal::without_published_keys);
    };
    match verified_by(config, token, Some(&set)) {
        Err(refusal) if refusal.lacks_key() => match Box::pin(remote.after(&set)).await {
            Some(newer) => verified_by(config, token, Some(&newer)),
            None => Err(refusal),
        },
        verdict => verdict,
    }
}

fn verified_by(config: &Config, token: &str, published: Option<&KeySet>) -> Result<Rc<Grant>, Refusal> {
    let now = clock::unix();
    config.cache.only_for(published.map(|set| set.digest));
    if let Some(grant) = config.cache.find(token, now) {
        return Ok(grant);
    }
    let published = published.map_or(&[][..], |set| &set.keys);
    let claims = token::verify(token, config.keys.iter().chain(published))?;
    let valid_until = config.rules.check(&claims, now)?;
    let grant = Rc::new(config.handover.grant(&claims)?);
    config.cache.insert(token, Rc::clone(&grant), now, valid_until);
    Ok(grant)
}

#[cfg(test)]
mod tests;
