//! The host's cryptography: at native speed, and not part of the filter module.
//!
//! **Invariant:** secrets are compared in constant time.
//!
//! ```
//! use meshup_sdk::crypto::{self, Signature};
//!
//! let mac = crypto::hmac_sha256(b"secret", b"message");
//! assert_eq!(crypto::verify(Signature::Hs256, b"secret", b"message", &mac), Ok(true));
//! assert!(!crypto::constant_time_eq(&mac, &crypto::sha256(b"message")));
//! ```

pub use meshup_abi::Signature;

pub use crate::host::HostError;
use crate::host::{self, checked};

/// SHA-256.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    host::sha256(data, &mut digest);
    digest
}

/// HMAC with SHA-256.
#[must_use]
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = [0; 32];
    host::hmac_sha256(key, data, &mut mac);
    mac
}

/// Whether `signature` is one of `data`. [`Signature`] says which key format each algorithm takes.
///
/// # Errors
/// [`HostError::Invalid`] when the key cannot be read.
pub fn verify(algorithm: Signature, key: &[u8], data: &[u8], signature: &[u8]) -> Result<bool, HostError> {
    checked(host::verify(algorithm, key, data, signature)).map(|valid| valid == 1)
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    let different = left.iter().zip(right).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    left.len() == right.len() && different == 0
}
