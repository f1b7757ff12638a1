//! The configuration, checked, with everything computed that no request changes.
//!
//! **Invariant:** a digest stands for one identity only.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;

use crate::digest::{Digest, Digests};

/// The filter's configuration; the crate's documentation lists the keys.
#[derive(Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) header: HeaderName,
    pub(crate) prefix: String,
    pub(crate) identity_header: HeaderName,
    pub(crate) forward: bool,
    keys: Vec<(Digest, String)>,
    challenge: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    keys: BTreeMap<String, Digests>,
    #[serde(default = "default_header")]
    header: HeaderName,
    #[serde(default)]
    prefix: String,
    #[serde(default = "default_identity_header")]
    identity_header: HeaderName,
    #[serde(default)]
    forward: bool,
}

fn default_header() -> HeaderName {
    HeaderName::from_static("x-api-key")
}

fn default_identity_header() -> HeaderName {
    HeaderName::from_static("x-api-key-identity")
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        if raw.header == raw.identity_header {
            return Err(format!("identity_header: {} is the header of the key", raw.identity_header));
        }
        Ok(Self {
            challenge: challenge(&raw.header, &raw.prefix),
            keys: keys(raw.keys)?,
            header: raw.header,
            prefix: raw.prefix,
            identity_header: raw.identity_header,
            forward: raw.forward,
        })
    }
}

impl Config {
    /// The identity whose key it is. It takes the same time whichever key matches, and when none does.
    pub(crate) fn identity_of(&self, key: &[u8]) -> Option<&str> {
        let presented = crypto::sha256(key);
        let found = self.keys.iter().zip(1_usize..).fold(0, |found, ((digest, _), number)| {
            found | (number * usize::from(crypto::constant_time_eq(&digest.0, &presented)))
        });
        self.keys.get(found.checked_sub(1)?).map(|(_, identity)| identity.as_str())
    }

    /// What every request without a known key gets.
    pub(crate) fn refusal(&self) -> Response {
        const BODY: &str = "{\"error\":\"unauthorized\",\"message\":\"a valid API key is required\"}\n";
        Response::new(401)
            .with_header("www-authenticate", &self.challenge)
            .with_header("content-type", "application/json")
            .with_body(BODY)
    }
}

fn keys(raw: BTreeMap<String, Digests>) -> Result<Vec<(Digest, String)>, String> {
    let mut keys: Vec<(Digest, String)> = Vec::new();
    for (identity, Digests(digests)) in raw {
        check_identity(&identity)?;
        for digest in digests {
            if digest.0 == crypto::sha256(b"") {
                return Err(format!("keys.{identity}: the digest of an empty key: an empty header would pass"));
            }
            if let Some((_, other)) = keys.iter().find(|(known, _)| *known == digest) {
                return Err(format!("keys.{identity}: the same key as one of {other:?}"));
            }
            keys.push((digest, identity.clone()));
        }
    }
    if keys.is_empty() { Err("keys: empty, so every request would be refused".to_owned()) } else { Ok(keys) }
}

fn check_identity(identity: &str) -> Result<(), String> {
    let valid = !identity.is_empty() && identity.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(()) } else { Err(format!("keys: {identity:?} cannot be an identity: use visible ASCII characters")) }
}

/// RFC 9110 wants a scheme: the one in `prefix`, or a name that says which header to send.
fn challenge(header: &str, prefix: &str) -> String {
    match prefix.trim() {
        scheme if header == "authorization" && !scheme.is_empty() => scheme.to_owned(),
        _ => format!("ApiKey header=\"{header}\""),
    }
}
