//! The host's functions, with safe signatures.
//!
//! In a filter module they are imports; in a native build they are a simulated host that tests control.
//!
//! **Invariant:** both backends offer the same functions, and nothing else in the SDK calls the host.

#[cfg(not(target_family = "wasm"))]
pub(crate) mod native;
#[cfg(target_family = "wasm")]
mod wasm;

use std::fmt;

use meshup_abi::{NO_EXCHANGE, QUOTA};
#[cfg(not(target_family = "wasm"))]
pub(crate) use native::*;
#[cfg(target_family = "wasm")]
pub(crate) use wasm::*;

/// Why the host did not do what a filter asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostError {
    /// An argument is not valid: a name, an id, a key.
    Invalid,
    /// A quota is used up: keys, bytes, series or variables.
    Quota,
    /// There is no exchange at this point.
    NoExchange,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "argument not valid",
            Self::Quota => "quota used up",
            Self::NoExchange => "no exchange at this point",
        })
    }
}

impl std::error::Error for HostError {}

/// A host call's result that is a number of 0 or more.
pub(crate) fn checked(result: i32) -> Result<i32, HostError> {
    match result {
        0.. => Ok(result),
        QUOTA => Err(HostError::Quota),
        NO_EXCHANGE => Err(HostError::NoExchange),
        // INVALID, and whatever a later host may say.
        _ => Err(HostError::Invalid),
    }
}

/// The whole value that `fill` gives to a large enough buffer; `None` when it is absent or there is no exchange.
pub(crate) fn filled(fill: impl Fn(&mut [u8]) -> i32) -> Option<Vec<u8>> {
    with_filled(fill, <[u8]>::to_vec)
}

/// The same for a reader; a short value allocates nothing.
pub(crate) fn with_filled<T>(fill: impl Fn(&mut [u8]) -> i32, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut small = [0; 128];
    let mut len = usize::try_from(fill(&mut small)).ok()?;
    if let Some(value) = small.get(..len) {
        return Some(read(value));
    }
    loop {
        let mut large = vec![0; len];
        len = usize::try_from(fill(&mut large)).ok()?;
        if let Some(value) = large.get(..len) {
            return Some(read(value));
        }
    }
}
