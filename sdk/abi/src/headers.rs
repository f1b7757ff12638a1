//! Header names and values: which are valid (RFC 9110, 5.1 and 5.5), and which belong to the host.
//!
//! Names are compared as they are: callers bring them in lower case.
//!
//! **Invariant:** the only list of these names on either side of the ABI.

/// Whether a field belongs to one connection and not to the message (RFC 9110, 7.6.1), for a name in lower case.
///
/// ```
/// use meshup_abi::headers::is_hop_by_hop;
///
/// assert!(is_hop_by_hop(b"te") && !is_hop_by_hop(b"trailer"));
/// ```
#[must_use]
pub const fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"http2-settings"
            | b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"te"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// Whether the host makes the field itself, so that a filter may not change it, for a name in lower case: what is
/// [hop by hop](is_hop_by_hop), `host` and `content-length`.
///
/// ```
/// use meshup_abi::headers::is_host_owned;
///
/// assert!(is_host_owned(b"host") && is_host_owned(b"upgrade") && !is_host_owned(b"accept"));
/// ```
#[must_use]
pub const fn is_host_owned(name: &[u8]) -> bool {
    matches!(name, b"content-length" | b"host") || is_hop_by_hop(name)
}

/// Whether two names are the same but for the case of their letters.
///
/// ```
/// use meshup_abi::headers::is_same_name;
///
/// assert!(is_same_name(b"X-Team-Name", b"x-team-name") && !is_same_name(b"x-team", b"x-tear"));
/// ```
#[must_use]
pub fn is_same_name(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && (is_same(name, other) || name.eq_ignore_ascii_case(other))
}

/// Most names are in lower case already: compared eight bytes at a time, where a guest's `memcmp` compares each byte. The
/// last eight may overlap the others.
#[inline]
fn is_same(name: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(name: &[u8]) -> Option<([u8; N], [u8; N])> {
        Some((*name.first_chunk()?, *name.last_chunk()?))
    }
    match (ends::<8>(name), ends::<8>(other)) {
        (Some(ends), Some(others)) => ends == others && has_same_chunks(name, other),
        _ => match (ends::<4>(name), ends::<4>(other)) {
            (Some(ends), Some(others)) => ends == others,
            _ => name.iter().eq(other),
        },
    }
}

/// Whether all whole chunks of eight bytes but the first are the same.
#[inline]
fn has_same_chunks(name: &[u8], other: &[u8]) -> bool {
    let (chunks, others) = (name.as_chunks::<8>().0, other.as_chunks::<8>().0);
    chunks.iter().zip(others).skip(1).all(|(chunk, other)| u64::from_ne_bytes(*chunk) == u64::from_ne_bytes(*other))
}

/// Whether `name` is a token, in upper or lower case.
///
/// ```
/// use meshup_abi::headers::is_name;
///
/// assert!(is_name(b"X-Team") && !is_name(b"") && !is_name(b"a b"));
/// ```
#[must_use]
pub const fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, behind @ ..] = rest {
        if !is_token(*byte) {
            return false;
        }
        rest = behind;
    }
    !name.is_empty()
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether `value` holds no control character but the tab.
///
/// ```
/// use meshup_abi::headers::is_value;
///
/// assert!(is_value(b"a\tb \xff") && !is_value(b"a\r\nb: c"));
/// ```
#[must_use]
pub fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn names_are_the_same_whatever_their_length_and_case() {
        let name: Vec<u8> = (0..40).map(|at| b"content-security-x"[at % 18]).collect();
        for len in 0..name.len() {
            let name = &name[..len];
            assert!(is_same_name(name, name) && is_same_name(&name.to_ascii_uppercase(), name));
            for at in 0..len {
                let mut other = name.to_vec();
                other[at] = b'_';
                assert!(!is_same_name(&other, name));
            }
        }
        assert!(!is_same_name(b"accept", b"accept-encoding"));
    }
}
