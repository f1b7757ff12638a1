//! The configuration, checked, with everything computed that no request changes.
//!
//! **Invariant:** there is at least one key, or a place to fetch some.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;
use serde_json::Value;

use crate::{
    cache::Cache,
    claims::Rules,
    grant::Handover,
    jwk,
    key::{InlineKey, Key},
    remote::Remote,
};

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");

/// The filter's configuration; the crate's documentation lists the keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) keys: Vec<Key>,
    pub(crate) remote: Option<Remote>,
    pub(crate) rules: Rules,
    pub(crate) header: HeaderName,
    pub(crate) prefix: String,
    pub(crate) optional: bool,
    pub(crate) handover: Handover,
    pub(crate) cache: Cache,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    keys: Vec<InlineKey>,
    jwks: Option<Value>,
    remote_jwks: Option<Remote>,
    issuer: Option<OneOrMore>,
    audience: Option<OneOrMore>,
    #[serde(default)]
    required_claims: Vec<String>,
    #[serde(default = "yes")]
    require_exp: bool,
    #[serde(default = "default_leeway", with = "duration")]
    leeway: Duration,
    #[serde(default = "default_header")]
    header: HeaderName,
    prefix: Option<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    forward: bool,
    #[serde(default)]
    claims_to_headers: BTreeMap<String, HeaderName>,
    #[serde(default = "default_variables")]
    claims_to_variables: BTreeMap<String, String>,
    #[serde(default)]
    cache: RawCache,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCache {
    entries: u16,
    #[serde(with = "duration")]
    ttl: Duration,
}

impl Default for RawCache {
    fn default() -> Self {
        Self { entries: 1024, ttl: Duration::from_secs(300) }
    }
}

/// The accepted values; none when any is. An empty list looks like a choice, and would be none.
fn accepted(key: &str, texts: Option<OneOrMore>) -> Result<Vec<String>, String> {
    match texts {
        None => Ok(Vec::new()),
        Some(OneOrMore::One(text)) => Ok(vec![text]),
        Some(OneOrMore::More(texts)) if texts.is_empty() => Err(format!("{key}: empty; leave it out to accept any")),
        Some(OneOrMore::More(texts)) => Ok(texts),
    }
}

fn yes() -> bool {
    true
}

fn default_leeway() -> Duration {
    Duration::from_secs(30)
}

fn default_header() -> HeaderName {
    AUTHORIZATION
}

fn default_variables() -> BTreeMap<String, String> {
    BTreeMap::from([("sub".to_owned(), "jwt.sub".to_owned())])
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        check_targets(&raw)?;
        let keys = keys(raw.keys, raw.jwks)?;
        if keys.is_empty() && raw.remote_jwks.is_none() {
            return Err("no key for RS256, ES256, EdDSA or HS256 in `keys` or `jwks`, and no `remote_jwks`".to_owned());
        }
        let default_prefix = if raw.header == AUTHORIZATION { "Bearer " } else { "" };
        Ok(Self {
            keys,
            remote: raw.remote_jwks,
            rules: Rules {
                issuers: accepted("issuer", raw.issuer)?,
                audiences: accepted("audience", raw.audience)?,
                required_claims: raw.required_claims,
                require_exp: raw.require_exp,
                leeway: raw.leeway,
            },
            handover: Handover {
                headers: raw.claims_to_headers.into_iter().collect(),
                variables: raw.claims_to_variables.into_iter().collect(),
                removed: (!raw.forward).then(|| raw.header.clone()),
            },
            header: raw.header,
            prefix: raw.prefix.unwrap_or_else(|| default_prefix.to_owned()),
            optional: raw.optional,
            cache: Cache::new(raw.cache.entries.into(), raw.cache.ttl),
        })
    }
}

fn keys(inline: Vec<InlineKey>, jwks: Option<Value>) -> Result<Vec<Key>, String> {
    let inline = inline.into_iter().enumerate();
    let inline = inline.map(|(index, key)| Key::try_from(key).map_err(|error| format!("keys[{index}]: {error}")));
    let mut keys = inline.collect::<Result<Vec<_>, _>>()?;
    if let Some(jwks) = jwks {
        keys.extend(jwk::keys(jwks).map_err(|error| format!("jwks: {error}"))?);
    }
    match first_repeated(&keys) {
        Some(kid) => Err(format!("two keys of one algorithm have the kid {kid:?}")),
        None => Ok(keys),
    }
}

fn first_repeated(keys: &[Key]) -> Option<&str> {
    let repeated = |(index, key): (usize, &Key)| {
        keys[..index].iter().any(|other| other.kid == key.kid && other.algorithm == key.algorithm)
    };
    let named = keys.iter().enumerate().filter(|(_, key)| key.kid.is_some());
    named.into_iter().find(|named| repeated(*named)).and_then(|(_, key)| key.kid.as_deref())
}

fn check_targets(raw: &RawConfig) -> Result<(), String> {
    let mut headers = Vec::new();
    for (claim, header) in &raw.claims_to_headers {
        if *header == raw.header {
            return Err(format!("claims_to_headers.{claim}: {header} is the header of the token"));
        }
        if headers.contains(&header) {
            return Err(format!("claims_to_headers.{claim}: another claim goes to {header} already"));
        }
        headers.push(header);
    }
    match raw.claims_to_variables.iter().find(|(_, variable)| variable.is_empty()) {
        Some((claim, _)) => Err(format!("claims_to_variables.{claim}: the name is empty")),
        None => Ok(()),
    }
}
