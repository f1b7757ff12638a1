//! A key that verifies tokens.
//!
//! **Invariant:** a key serves one algorithm, and the host could read it when the filter was configured.

use std::fmt;

use meshup_sdk::{crypto::Signature, prelude::*};

use crate::der;

/// RFC 7518, section 3.2: as long as the digest.
const MIN_SECRET_BYTES: usize = 32;

/// A key.
pub(crate) struct Key {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Signature,
    material: Vec<u8>,
}

/// A key is never shown.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// A key in the format that the host takes for `algorithm`.
    pub(crate) fn new(kid: Option<String>, algorithm: Signature, material: Vec<u8>) -> Result<Self, String> {
        match algorithm {
            Signature::Hs256 if material.len() < MIN_SECRET_BYTES => {
                return Err(format!(
                    "a secret for HS256 has at least {MIN_SECRET_BYTES} bytes, not {}",
                    material.len()
                ));
            }
            // The host reads a key before it looks at the signature.
            _ if crypto::verify(algorithm, &material, b"", &[0; 64]).is_err() => {
                return Err(format!("not a public key for {algorithm}"));
            }
            _ => {}
        }
        Ok(Self { kid, algorithm, material })
    }

    /// Whether a token with that `kid` may be signed by this key. Where one of the two has no name, only the signature
    /// can tell.
    pub(crate) fn serves(&self, kid: Option<&str>) -> bool {
        match (self.kid.as_deref(), kid) {
            (Some(own), Some(kid)) => own == kid,
            _ => true,
        }
    }

    /// Whether this key made the signature.
    pub(crate) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        crypto::verify(self.algorithm, &self.material, signed, signature) == Ok(true)
    }
}

/// A key as it stands under `keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InlineKey {
    kid: Option<String>,
    alg: String,
    public_key: Option<String>,
    secret: Option<String>,
}

impl TryFrom<InlineKey> for Key {
    type Error = String;

    fn try_from(inline: InlineKey) -> Result<Self, String> {
        let algorithm = algorithm(&inline.alg)?;
        let material = match (algorithm, inline.public_key, inline.secret) {
            (Signature::Hs256, None, Some(secret)) => secret.into_bytes(),
            (Signature::Hs256, ..) => return Err("HS256 takes `secret`, and no `public_key`".to_owned()),
            (_, Some(pem), None) => der::from_pem(&pem)?,
            _ => return Err(format!("{algorithm} takes `public_key`, and no `secret`")),
        };
        Self::new(inline.kid, algorithm, material)
    }
}

/// The algorithm of that name.
pub(crate) fn algorithm(name: &str) -> Result<Signature, String> {
    let known = Signature::ALL.iter().copied().find(|algorithm| algorithm.as_str() == name);
    known.ok_or_else(|| format!("alg: {name:?} is none of RS256, ES256, EdDSA and HS256"))
}
