//! The host's random numbers, cryptographically strong.
//!
//! **Invariant:** in a test the numbers are the same in every run.
//!
//! ```
//! use meshup_sdk::random;
//!
//! let key: [u8; 16] = random::bytes();
//! assert_ne!(key, random::bytes());
//! assert!((0.0..1.0).contains(&random::f64()));
//! ```

use crate::host;

/// Random bytes.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Fills `out` with random bytes.
pub fn fill(out: &mut [u8]) {
    host::random(out);
}

/// A random number.
#[must_use]
pub fn u64() -> u64 {
    u64::from_le_bytes(bytes())
}

/// A random number in `0.0..1.0`, evenly distributed.
#[must_use]
pub fn f64() -> f64 {
    (u64() >> 11) as f64 / (1_u64 << 53) as f64
}
