//! Header names that filters used lately on this thread: making one anew means checking, folding and allocating it.
//!
//! **Invariant:** bounded, and never more than a shortcut: what is not here is made.

use std::{
    cell::RefCell,
    hash::{BuildHasher, BuildHasherDefault},
};

use http::{HeaderName, header::InvalidHeaderName};
use rustc_hash::FxHasher;

const ENTRIES: usize = 64;

thread_local! {
    static NAMES: RefCell<[Option<HeaderName>; ENTRIES]> = const { RefCell::new([const { None }; ENTRIES]) };
}

/// The header name of these bytes.
///
/// # Errors
/// When they are no name (RFC 9110 section 5.1).
pub(super) fn header_name(bytes: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    let hash = BuildHasherDefault::<FxHasher>::default().hash_one(bytes);
    // The upper bits: FxHash leaves the lower ones to the last bytes.
    let at = (hash >> 58) as usize % ENTRIES;
    NAMES.with_borrow_mut(|names| {
        let Some(entry) = names.get_mut(at) else { return HeaderName::from_bytes(bytes) };
        if let Some(known) = entry.as_ref().filter(|known| known.as_str().as_bytes() == bytes) {
            return Ok(known.clone());
        }
        let name = HeaderName::from_bytes(bytes)?;
        *entry = Some(name.clone());
        Ok(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_from_the_cache() {
        for name in ["x-one", "X-One", "accept", "x-one", "accept"] {
            assert_eq!(header_name(name.as_bytes()).ok(), HeaderName::from_bytes(name.as_bytes()).ok());
        }
        assert!(header_name(b"").is_err());
        assert!(header_name(b"a b").is_err());
    }
}
