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
