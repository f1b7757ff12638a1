//! A password as the configuration holds it: `sha256:`, the salt, and the digest of salt and password.
//!
//! Fast on purpose: whoever is not yet known decides how often it is computed, on the thread that serves everybody
//! else. `README.md` says what that means for the passwords.
//!
//! **Invariant:** every salt has the same length, so that checking one password takes as long as checking another.

use std::fmt;

use meshup_sdk::crypto;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// Digits of a salt. They are hashed as they are written.
const SALT: usize = 32;

/// A salted SHA-256 digest.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password {
    pub(crate) salt: [u8; SALT],
    digest: [u8; 32],
}

impl Password {
    /// A password that nobody knows, for users that nobody knows: its digest is not one of any text found so far.
    pub(crate) const UNKNOWN: Self = Self { salt: [b'0'; SALT], digest: [0; 32] };

    /// Whether it is this password. The time depends on the length of `presented` alone.
    pub(crate) fn is(&self, presented: &[u8]) -> bool {
        let digest = crypto::sha256(&[&self.salt, presented].concat());
        crypto::constant_time_eq(&digest, &self.digest)
    }

    fn parse(text: &str) -> Option<Self> {
        let (salt, digest) = text.strip_prefix("sha256:")?.split_once(':')?;
        let salt: [u8; SALT] = salt.as_bytes().try_into().ok()?;
        let is_hex = salt.iter().all(u8::is_ascii_hexdigit);
        let digest = bytes(digest.as_bytes())?;
        is_hex.then_some(Self { salt, digest })
    }
}

/// The bytes that 64 hexadecimal digits stand for.
fn bytes(hex: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written)
    }
}

struct Written;

impl Visitor<'_> for Written {
    type Value = Password;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a salted digest")
    }

    /// No message repeats what was written, for it may be a password.
    fn visit_str<E: Error>(self, text: &str) -> Result<Password, E> {
        const EXPECTED: &str = r#"expected "sha256:SALT:DIGEST" with 32 and 64 hexadecimal digits, where DIGEST is from `printf %s SALT PASSWORD | sha256sum`"#;
        Password::parse(text).ok_or_else(|| E::custom(format_args!("not the digest of a password: {EXPECTED}")))
    }
}
