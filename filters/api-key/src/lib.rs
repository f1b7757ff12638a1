//! Lets requests with a known key pass; answers all others with 401.
//!
//! The configuration holds SHA-256 digests, never keys. Who the key belongs to goes on as the variable
//! `api_key.identity` and as a header. It does not limit rates and does not say what an identity may do.
//!
//! ```toml
//! [filters.keys]
//! module = "builtin:api-key"
//! config = { header = "x-api-key", keys = { alice = "sha256:a71a7c7011f53a1bab3642ec2ce12593f05230ace8de1e3e7645f69efac1443d" } }
//! ```
//!
//! | key | type | default | meaning |
//! |---|---|---|---|
//! | `keys` | table | required | identity = digest, or a list of digests: `"sha256:"` and 64 hexadecimal digits |
//! | `header` | text | `"x-api-key"` | the header that brings the key |
//! | `prefix` | text | `""` | what stands before the key, such as `"Bearer "`; upper and lower case are the same |
//! | `identity_header` | text | `"x-api-key-identity"` | the header that tells the upstream the identity |
//! | `forward` | bool | `false` | whether the upstream gets the key too |
//!
//! **Invariant:** the upstream sees an identity header only when this filter wrote it.

mod config;
mod digest;

use meshup_sdk::prelude::*;

pub use crate::config::Config;

/// The variable that tells later filters and the access log whose key it was.
pub const IDENTITY_VARIABLE: &str = "api_key.identity";

#[meshup_sdk::filter]
async fn api_key(config: &Config, mut req: Request, next: Next) -> Response {
    let Some(identity) = identity(config, &req) else { return config.refusal() };
    if let Err(error) = exchange::set_variable(IDENTITY_VARIABLE, identity) {
        error!("no variable {IDENTITY_VARIABLE}: {error}");
        return Response::new(500);
    }
    if !config.forward {
        req.headers_mut().remove(&config.header);
    }
    req.headers_mut().set(&config.identity_header, identity);
    next.pass(req)
}

/// Whose key the request brings.
fn identity(config: &'static Config, req: &Request) -> Option<&'static str> {
    let Some(key) = presented(config, req) else {
        info!("refused: not one key in {}", config.header);
        return None;
    };
    let identity = config.identity_of(key);
    if identity.is_none() {
        info!("refused: unknown key in {}", config.header);
    }
    identity
}

/// The key, when there is exactly one.
fn presented<'a>(config: &Config, req: &'a Request) -> Option<&'a [u8]> {
    let headers = req.headers();
    let mut values = headers.get_all(&config.header);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (prefix, key) = value.split_at_checked(config.prefix.len())?;
    prefix.eq_ignore_ascii_case(config.prefix.as_bytes()).then_some(key)
}

#[cfg(test)]
mod tests;
