//! Which fields of a message from outside may mean something further on.
//!
//! It decides by name alone; `head.rs` and the bodies take off what it names.
//!
//! **Invariant:** no name that the proxy sets, or that an upstream reads as such, comes from a client that is not
//! trusted.

use http::HeaderMap;
use meshup_abi::headers::is_hop_by_hop;

/// Whether only a trusted proxy may say this: where the client is, and what it asked for before some rewriting.
/// The three that the proxy sets itself are not among them.
pub(super) fn is_forged(name: &[u8]) -> bool {
    match name {
        b"forwarded" | b"x-real-ip" | b"x-original-url" | b"x-rewrite-url" => true,
        b"x-forwarded-for" | b"x-forwarded-proto" | b"x-forwarded-host" => false,
        _ => name.starts_with(b"x-forwarded-"),
    }
}

/// Whether the name has a `_`, which CGI and its heirs cannot tell from `-`.
pub(super) fn has_underscore(name: &[u8]) -> bool {
    match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) if name.len() <= 16 => holds_underscore(*first) || holds_underscore(*last),
        _ => name.contains(&b'_'),
    }
}

/// Eight bytes at a time: a byte of `word` is zero where there was a `_`.
fn holds_underscore(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_ne_bytes(bytes) ^ (ONES * b'_' as u64);
    word.wrapping_sub(ONES) & !word & (ONES * 0x80) != 0
}

/// Whether `connection` may not have the field taken off: it frames or routes the message, says who sent it, or guards
/// whoever reads it.
pub(super) fn outlives_the_connection(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 4] = [b"x-forwarded-", b"access-control-", b"sec-", b"content-"];
    let named = matches!(
        name,
        b"host"
            | b"forwarded"
            | b"via"
            | b"x-real-ip"
            | b"x-request-id"
            | b"traceparent"
            | b"tracestate"
            | b"authorization"
            | b"cookie"
            | b"origin"
            | b"referer"
            | b"range"
            | b"trailer"
            | b"expect"
            | b"set-cookie"
            | b"www-authenticate"
            | b"cache-control"
            | b"vary"
            | b"location"
            | b"age"
            | b"expires"
            | b"strict-transport-security"
            | b"x-frame-options"
            | b"x-content-type-options"
            | b"referrer-policy"
            | b"permissions-policy"
            | b"retry-after"
            | b"x-meshup-error"
    );
    named || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Takes off what may not stand behind a body, for a reader that adds it to the head would be framed, routed or
/// identified by it (RFC 9110 section 6.5.1).
pub(crate) fn clean_trailers(mut trailers: HeaderMap) -> HeaderMap {
    let refused: Vec<_> = trailers.keys().filter(|name| !may_trail(name.as_str())).cloned().collect();
    for name in refused {
        trailers.remove(name);
    }
    trailers
}

/// What the names of many such fields begin with.
const UNTRAILED: [&[u8]; 4] = [b"x-forwarded-", b"proxy-", b"if-", b"x-meshup-"];

/// A `_` is read as `-`, as others would.
fn may_trail(name: &str) -> bool {
    if name.contains('_') {
        return may_trail(&name.replace('_', "-"));
    }
    let name = name.as_bytes();
    let control = matches!(
        name,
        b"host"
            | b"trailer"
            | b"expect"
            | b"max-forwards"
            | b"pragma"
            | b"range"
            | b"cache-control"
            | b"via"
            | b"authorization"
            | b"cookie"
            | b"set-cookie"
            | b"www-authenticate"
            | b"authentication-info"
            | b"origin"
            | b"x-api-key"
            | b"x-request-id"
            | b"age"
            | b"date"
            | b"expires"
            | b"location"
            | b"retry-after"
            | b"vary"
            | b"content-length"
            | b"content-type"
            | b"content-encoding"
            | b"content-range"
            | b"content-location"
            | b"forwarded"
            | b"proxy"
            | b"x-real-ip"
            | b"x-original-url"
            | b"x-rewrite-url"
            | b"strict-transport-security"
            | b"x-http-method-override"
    );
    !control && !is_hop_by_hop(name) && !UNTRAILED.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_are_seen_wherever_they_stand() {
        for len in 1..24 {
            let plain = vec![b'a'; len];
            assert!(!has_underscore(&plain));
            for at in 0..len {
                let mut name = plain.clone();
                name[at] = b'_';
                assert!(has_underscore(&name), "{}", String::from_utf8_lossy(&name));
            }
        }
        assert!(!has_underscore(b"x-forwarded-for^`"));
    }

    #[test]
    fn trailers_keep_what_is_about_the_body() {
        for name in
            ["grpc-status", "grpc-message", "grpc-status-details-bin", "digest", "server-timing", "my_own", "etag"]
        {
            assert!(may_trail(name), "{name}");
        }
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "x-forwarded-for",
            "if-match",
            "content_length",
            "X_Forwarded_For".to_lowercase().as_str(),
            "connection",
            "proxy-authorization",
        ] {
            assert!(!may_trail(name), "{name}");
        }
    }
}
