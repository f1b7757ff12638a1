//! A token in compact serialization (RFC 7515): taken apart, its key found, its signature verified.
//!
//! It says nothing about what the claims mean.
//!
//! **Invariant:** claims come out only after their signature was found valid, by a key for the very algorithm the token
//! names.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use meshup_sdk::{crypto::Signature, prelude::*};
use serde::{Deserializer, de::IgnoredAny};
use serde_json::Value;

use crate::{
    claims::Claims,
    key::{self, Key},
    refusal::Refusal,
};

/// Longer tokens are refused.
const MAX_TOKEN_BYTES: usize = 8 << 10;

const NOT_THREE_PARTS: Refusal = Refusal::Malformed("not three parts");

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// The claims of a token that one of `keys` signed.
pub(crate) fn verify<'a>(token: &str, keys: impl Iterator<Item = &'a Key>) -> Result<Claims, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(NOT_THREE_PARTS)?;
    let (header, payload) =
        signed.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or(NOT_THREE_PARTS)?;
    let header: Header = parse(header)?;
    let signature = decode(signature)?;
    check_signature(&header, keys, signed.as_bytes(), &signature)?;
    match parse(payload)? {
        Value::Object(claims) => Ok(Claims(Value::Object(claims))),
        _ => Err(Refusal::Malformed("the claims are not an object")),
    }
}

fn check_signature<'a>(
    header: &Header,
    keys: impl Iterator<Item = &'a Key>,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), Refusal> {
    if header.crit {
        return Err(Refusal::Critical);
    }
    let mut candidates = keys.filter(|key| key.algorithm.as_str() == header.alg).peekable();
    if candidates.peek().is_none() {
        return Err(if is_asymmetric(&header.alg) { Refusal::NoKeyOfAlgorithm } else { Refusal::Algorithm });
    }
    let mut candidates = candidates.filter(|key| key.serves(header.kid.as_deref())).peekable();
    if candidates.peek().is_none() {
        return Err(Refusal::UnknownKey);
    }
    if candidates.any(|key| key.verifies(signed, signature)) { Ok(()) } else { Err(Refusal::Signature) }
}

/// Whether a published set may hold a key for it.
fn is_asymmetric(alg: &str) -> bool {
    key::algorithm(alg).is_ok_and(|algorithm| algorithm != Signature::Hs256)
}

fn parse<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Refusal> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Refusal::Malformed("not the JSON of a token"))
}

/// Without padding, and only in the one canonical form.
fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed("not base64url"))
}
