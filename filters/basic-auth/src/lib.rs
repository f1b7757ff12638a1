//! Lets requests with a known user and password pass; answers all others with 401.
//!
//! The scheme `Basic` of RFC 7617. The configuration holds salted digests, never passwords. Whose password it was goes on
//! as the variable `basic_auth.identity` and as a header. It does not limit tries and does not say what an identity may
//! do.
//!
//! ```toml
//! [filters.users]
//! module = "builtin:basic-auth"
//! config = { passwords = { alice = "sha256:5f2b0a64c1d94e5bb8d0a7de1f3c9a10:cf36574c1adff323ded71597132afa7de53c7308805ab5763a61dc659e5162b6" } }
//! ```
//!
//! | key | type | default | meaning |
//! |---|---|---|---|
//! | `passwords` | table | required | identity = `"sha256:SALT:DIGEST"`: 32 hexadecimal digits, and 64 of the SHA-256 of salt and password |
//! | `realm` | text | `"restricted"` | what a browser shows its user, and for which it keeps the password |
//! | `identity_header` | text | `"x-basic-auth-identity"` | the header that tells the upstream the identity |
//! | `forward` | bool | `false` | whether the upstream gets `Authorization` too |
//!
//! **Invariant:** the upstream sees an identity header only when this filter wrote it.

mod config;
mod credentials;
mod password;

use meshup_sdk::prelude::*;

pub use crate::config::Config;
use crate::credentials::Credentials;

/// The variable that tells later filters and the access log whose password it was.
pub const IDENTITY_VARIABLE: &str = "basic_auth.identity";

const AUTHORIZATION: &str = "authorization";

#[meshup_sdk::filter]
async fn basic_auth(config: &Config, mut req: Request, next: Next) -> Response {
    let Some(identity) = identity(config, &req) else { return config.refusal() };
    if let Err(error) = exchange::set_variable(IDENTITY_VARIABLE, identity) {
        error!("no variable {IDENTITY_VARIABLE}: {error}");
        return Response::new(500);
    }
    if !config.forward {
        req.headers_mut().remove(AUTHORIZATION);
    }
    req.headers_mut().set(&config.identity_header, identity);
    next.pass(req)
}

/// Whose password the request brings.
fn identity(config: &'static Config, req: &Request) -> Option<&'static str> {
    let Some(credentials) = presented(req) else {
        info!("refused: not one user and password in {AUTHORIZATION}");
        return None;
    };
    let identity = config.identity_of(&credentials);
    if identity.is_none() {
        info!("refused: unknown user or wrong password");
    }
    identity
}

/// User and password, when there is exactly one header with them.
fn presented(req: &Request) -> Option<Credentials> {
    let headers = req.headers();
    let mut values = headers.get_all(AUTHORIZATION);
    let value = values.next()?;
    if values.next().is_some() { None } else { Credentials::parse(value) }
}

#[cfg(test)]
mod tests;
