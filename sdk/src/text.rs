//! Bytes as text: nearly all that a filter reads is ASCII and short, for which `str::from_utf8` costs a guest more than
//! the look-up that found it.
//!
//! **Invariant:** the same texts as `str::from_utf8`.
#![allow(unsafe_code, reason = "what was found to be ASCII need not be looked at again")]

/// The bytes as text, if they are UTF-8.
#[inline]
pub(crate) fn as_text(bytes: &[u8]) -> Option<&str> {
    if is_ascii(bytes) {
        // SAFETY: ASCII is UTF-8.
        return Some(unsafe { str::from_utf8_unchecked(bytes) });
    }
    str::from_utf8(bytes).ok()
}

/// Eight bytes at a time; the last eight may have been looked at before.
fn is_ascii(bytes: &[u8]) -> bool {
    fn is_of_ascii(bytes: &[u8; 8]) -> bool {
        u64::from_ne_bytes(*bytes) & 0x8080_8080_8080_8080 == 0
    }
    if let Some(last) = bytes.last_chunk() {
        return is_of_ascii(last) && bytes.as_chunks().0.iter().all(is_of_ascii);
    }
    if let (Some([a, b, c, d]), Some([e, f, g, h])) = (bytes.first_chunk(), bytes.last_chunk()) {
        return is_of_ascii(&[*a, *b, *c, *d, *e, *f, *g, *h]);
    }
    bytes.iter().fold(0, |bits, byte| bits | byte) < 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_that_the_standard_library_reads() {
        for len in 0..40 {
            let ascii = vec![b'a'; len];
            assert_eq!(as_text(&ascii), str::from_utf8(&ascii).ok());
            for at in 0..len {
                for other in [&b"\xc3\xa4"[..], b"\xff", b"\x80", b"\x7f"] {
                    let mut bytes = ascii.clone();
                    bytes.splice(at..=at, other.iter().copied());
                    assert_eq!(as_text(&bytes), str::from_utf8(&bytes).ok(), "{bytes:?}");
                }
            }
        }
    }
}
