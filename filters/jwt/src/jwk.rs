//! A JSON Web Key Set (RFC 7517), as a text or as a table.
//!
//! Keys that cannot be meant for these tokens (another use, type, curve or algorithm) are passed over, as the RFC asks.
//!
//! **Invariant:** a JWK becomes a key for the algorithm that its type determines, and no `alg` changes that.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use meshup_sdk::{crypto::Signature, prelude::*};
use serde_json::Value;

use crate::{der, key::Key};

/// Smaller moduli are not safe (RFC 7518, section 3.3), larger ones the host does not take.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The uncompressed form of a point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// More keys of a URL than these are passed over: each is tried when it arrives.
const MAX_PUBLISHED: usize = 64;

#[derive(Deserialize, Serialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// The keys of a set that verify tokens.
pub(crate) fn keys(set: Value) -> Result<Vec<Key>, String> {
    let set = match set {
        Value::String(text) => serde_json::from_str(&text),
        table => serde_json::from_value(table),
    };
    let set: KeySet = set.map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.into_iter().enumerate() {
        keys.extend(key(jwk).map_err(|error| format!("keys[{index}]: {error}"))?);
    }
    Ok(keys)
}

/// What [`Jwk`] reads. Published sets hold much more, certificates above all.
const MEMBERS: [&str; 12] = ["kty", "kid", "alg", "use", "key_ops", "crv", "n", "e", "x", "y", "k", "d"];

/// A published set without what is not needed here.
pub(crate) fn reduced(document: &[u8]) -> Result<Vec<u8>, String> {
    let mut set = published_set(document)?;
    for jwk in set.keys.iter_mut().filter_map(Value::as_object_mut) {
        jwk.retain(|member, _| MEMBERS.contains(&&**member));
        // Were a private part published, it would not go any further from here.
        jwk.entry("d").and_modify(|d| *d = Value::Bool(true));
    }
    serde_json::to_vec(&set).map_err(|error| error.to_string())
}

/// The keys of a published set. One that cannot be used does not spoil the others, and a secret is none when it is
/// published.
pub(crate) fn published(document: &[u8]) -> Result<Vec<Key>, String> {
    let set = published_set(document)?;
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.into_iter().take(MAX_PUBLISHED).enumerate() {
        match key(jwk) {
            Ok(key) => keys.extend(key.filter(|key| key.algorithm != Signature::Hs256)),
            Err(error) => warn!("a key of the set is passed over: keys[{index}]: {error}"),
        }
    }
    if keys.is_empty() { Err("no key for RS256, ES256 or EdDSA in the set".to_owned()) } else { Ok(keys) }
}

fn published_set(document: &[u8]) -> Result<KeySet, String> {
    serde_json::from_slice(document).map_err(|error| format!("not a JSON Web Key Set: {error}"))
}

/// The key, or `None` when it is not for these tokens.
fn key(jwk: Value) -> Result<Option<Key>, String> {
    let jwk: Jwk = serde_json::from_value(jwk).map_err(|error| error.to_string())?;
    let Some(algorithm) = jwk.algorithm() else { return Ok(None) };
    if !jwk.verifies() {
        return Ok(None);
    }
    match jwk.alg.as_deref() {
        Some(alg) if Signature::ALL.iter().all(|known| known.as_str() != alg) => return Ok(None),
        Some(alg) if alg != algorithm.as_str() => {
            return Err(format!("alg: {alg:?} does not go with kty {:?}", jwk.kty));
        }
        _ => {}
    }
    if jwk.d.is_some() {
        return Err("d: this is a private key; only the public part belongs here".to_owned());
    }
    Key::new(jwk.kid.clone(), algorithm, jwk.material(algorithm)?).map(Some)
}

impl Jwk {
    fn algorithm(&self) -> Option<Signature> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Some(Signature::Rs256),
            ("EC", Some("P-256")) => Some(Signature::Es256),
            ("OKP", Some("Ed25519")) => Some(Signature::EdDsa),
            ("oct", _) => Some(Signature::Hs256),
            _ => None,
        }
    }

    /// Whether it may verify signatures.
    fn verifies(&self) -> bool {
        let by_use = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        by_use && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
    }

    fn material(&self, algorithm: Signature) -> Result<Vec<u8>, String> {
        match algorithm {
            Signature::Rs256 => self.rsa(),
            Signature::Es256 => Ok([vec![UNCOMPRESSED], coordinate("x", &self.x)?, coordinate("y", &self.y)?].concat()),
            Signature::EdDsa => coordinate("x", &self.x),
            Signature::Hs256 => member("k", &self.k),
        }
    }

    fn rsa(&self) -> Result<Vec<u8>, String> {
        let (modulus, exponent) = (member("n", &self.n)?, member("e", &self.e)?);
        if !MODULUS_BYTES.contains(&modulus.len()) {
            return Err(format!("n: an RSA key has 2048 to 8192 bits, not {}", modulus.len() * 8));
        }
        Ok(der::rsa_public_key(&modulus, &exponent))
    }
}

fn coordinate(name: &str, value: &Option<String>) -> Result<Vec<u8>, String> {
    let bytes = member(name, value)?;
    if bytes.len() == 32 { Ok(bytes) } else { Err(format!("{name}: 32 bytes, not {}", bytes.len())) }
}

fn member(name: &str, value: &Option<String>) -> Result<Vec<u8>, String> {
    let value = value.as_ref().ok_or_else(|| format!("missing {name:?}"))?;
    // The error would repeat a part of what may be a secret.
    URL_SAFE_NO_PAD.decode(value).map_err(|_| format!("{name}: not base64url without padding"))
}
