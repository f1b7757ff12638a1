//! A key as the configuration holds it: `sha256:` and 64 hexadecimal digits.
//!
//! **Invariant:** no message repeats what was written, for it may be a key.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl Digest {
    fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?.as_bytes();
        let mut bytes = [0; 32];
        if hex.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// One digest or a list of them.
pub(crate) struct Digests(pub(crate) Vec<Digest>);

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OneDigest)
    }
}

impl<'de> Deserialize<'de> for Digests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

const EXPECTED: &str = r#"expected "sha256:" and 64 hexadecimal digits, as from `printf %s KEY | sha256sum`"#;

struct OneDigest;

impl Visitor<'_> for OneDigest {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Digest, E> {
        Digest::parse(text).ok_or_else(|| E::custom(format_args!("not the digest of a key: {EXPECTED}")))
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Digests;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest or a list of digests")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Digests, E> {
        OneDigest.visit_str(text).map(|digest| Digests(vec![digest]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Digests, A::Error> {
        let mut digests = Vec::new();
        while let Some(digest) = list.next_element()? {
            digests.push(digest);
        }
        if digests.is_empty() { Err(A::Error::invalid_length(0, &"at least one digest")) } else { Ok(Digests(digests)) }
    }
}
