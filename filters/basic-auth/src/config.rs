//! The configuration, checked, with everything computed that no request changes.
//!
//! **Invariant:** each salt is one user's, so that equal passwords have different digests.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;

use crate::{AUTHORIZATION, credentials::Credentials, password::Password};

/// The filter's configuration; the crate's documentation lists the keys.
#[derive(Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) identity_header: HeaderName,
    pub(crate) forward: bool,
    users: Vec<User>,
    challenge: String,
}

/// Found by the digest of the name, so that the time of a search tells nothing of the names.
struct User {
    name: [u8; 32],
    identity: String,
    password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    passwords: BTreeMap<String, Password>,
    #[serde(default = "default_realm")]
    realm: String,
    #[serde(default = "default_identity_header")]
    identity_header: HeaderName,
    #[serde(default)]
    forward: bool,
}

fn default_realm() -> String {
    "restricted".to_owned()
}

fn default_identity_header() -> HeaderName {
    HeaderName::from_static("x-basic-auth-identity")
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        if &*raw.identity_header == AUTHORIZATION {
            return Err(format!("identity_header: {AUTHORIZATION} is the header of the password"));
        }
        Ok(Self {
            challenge: challenge(&raw.realm)?,
            users: users(raw.passwords)?,
            identity_header: raw.identity_header,
            forward: raw.forward,
        })
    }
}

impl Config {
    /// The identity whose password it is. It takes the same time for every user, known or not.
    pub(crate) fn identity_of(&self, credentials: &Credentials) -> Option<&str> {
        let name = crypto::sha256(credentials.user());
        let found = self.users.iter().zip(1_usize..).fold(0, |found, (user, number)| {
            found | (number * usize::from(crypto::constant_time_eq(&user.name, &name)))
        });
        let user = found.checked_sub(1).and_then(|index| self.users.get(index));
        let password = user.map_or(&Password::UNKNOWN, |user| &user.password);
        let right = password.is(credentials.password());
        user.filter(|_| right).map(|user| user.identity.as_str())
    }

    /// What every request without a known user and password gets.
    pub(crate) fn refusal(&self) -> Response {
        const BODY: &str = "{\"error\":\"unauthorized\",\"message\":\"a valid user and password are required\"}\n";
        Response::new(401)
            .with_header("www-authenticate", &self.challenge)
            .with_header("content-type", "application/json")
            .with_body(BODY)
    }
}

fn users(raw: BTreeMap<String, Password>) -> Result<Vec<User>, String> {
    let mut users: Vec<User> = Vec::new();
    for (identity, password) in raw {
        check_identity(&identity)?;
        if password.is(b"") {
            return Err(format!("passwords.{identity}: the digest of an empty password"));
        }
        if let Some(other) = users.iter().find(|other| other.password.salt.eq_ignore_ascii_case(&password.salt)) {
            return Err(format!("passwords.{identity}: the same salt as {:?}: each needs its own", other.identity));
        }
        users.push(User { name: crypto::sha256(identity.as_bytes()), identity, password });
    }
    if users.is_empty() { Err("passwords: empty, so every request would be refused".to_owned()) } else { Ok(users) }
}

fn check_identity(identity: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if !identity.is_empty() && identity.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("passwords: {identity:?} cannot be an identity: use visible ASCII characters but no colon"))
}

/// RFC 7617, 2 and 2.1. Nothing that a quoted string would have to escape.
fn challenge(realm: &str) -> Result<String, String> {
    let allowed = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && !matches!(byte, b'"' | b'\\');
    if !realm.bytes().all(allowed) {
        return Err(format!("realm: {realm:?}: use visible ASCII characters but no quotes or backslashes"));
    }
    Ok(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
}
