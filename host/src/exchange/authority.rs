//! Which host a request is for: one authority, in `host` (RFC 9110 section 7.2, RFC 9112 section 3.2, RFC 9113 section
//! 8.3.1).
//!
//! A target that names another host than `host` does is refused: no client that keeps to the rules sends one, and the
//! two would be told apart differently further on.
//!
//! **Invariant:** behind this there is at most one `host`, and it is a host and perhaps a port.

use http::{HeaderValue, Version, header::HOST, request::Parts, uri::Scheme};
use meshup_abi::ErrorKind;

/// Moves the authority of a whole URI (HTTP/2, or RFC 9112 section 3.2.2) to `host`, and checks that there is exactly
/// one. The target itself stays. Returns what `host` says then; only HTTP/1.0 may come without.
///
/// # Errors
/// [`ErrorKind::BadRequest`].
pub(super) fn move_to_host(head: &mut Parts) -> Result<Option<HeaderValue>, ErrorKind> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    let target = head.uri.authority().map(|authority| (authority.as_str(), head.uri.scheme()));
    let sound = more.is_none()
        && match (target, host) {
            (None, None) => head.version == Version::HTTP_10,
            (None, Some(host)) => is_authority(host.as_bytes()),
            (Some((authority, Some(scheme))), host) => {
                is_authority(authority.as_bytes())
                    && (*scheme == Scheme::HTTP || *scheme == Scheme::HTTPS)
                    && host.map_or(head.version != Version::HTTP_11, |host| is_same(host, authority, scheme))
            }
            // A host and nothing else is the target of CONNECT only.
            (Some((_, None)), _) => false,
        };
    if !sound {
        return Err(ErrorKind::BadRequest);
    }
    let Some((authority, _)) = target else { return Ok(host.cloned()) };
    let host = HeaderValue::from_str(authority).map_err(|_| ErrorKind::BadRequest)?;
    head.headers.insert(HOST, host.clone());
    Ok(Some(host))
}

/// Whether both name the same host and port.
fn is_same(host: &HeaderValue, authority: &str, scheme: &Scheme) -> bool {
    let default_port: &[u8] = if *scheme == Scheme::HTTPS { b":443" } else { b":80" };
    let without_default = |text: &[u8]| {
        let text = text.strip_suffix(default_port).unwrap_or(text);
        text.strip_suffix(b":").unwrap_or(text).to_ascii_lowercase()
    };
    without_default(host.as_bytes()) == without_default(authority.as_bytes())
}

/// `host [":" port]` (RFC 3986 section 3.2.2), without user information. Encoded bytes, though allowed there, are
/// refused: the host would have two spellings.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match memchr::memrchr(b':', text) {
        Some(colon) if !text.ends_with(b"]") => (text.get(..colon), text.get(colon + 1..)),
        _ => (Some(text), None),
    };
    host.is_some_and(is_host) && port.is_none_or(is_port)
}

fn is_host(host: &[u8]) -> bool {
    match host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")) {
        Some(address) => std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.iter().all(|&byte| HOST_BYTES.get(usize::from(byte)).is_some_and(|ok| *ok)),
    }
}

fn is_port(port: &[u8]) -> bool {
    let digits = port.iter().all(u8::is_ascii_digit);
    digits && std::str::from_utf8(port).is_ok_and(|text| text.is_empty() || text.parse::<u16>().is_ok())
}

static HOST_BYTES: [bool; 256] = host_bytes();

const fn host_bytes() -> [bool; 256] {
    let mut bytes = [false; 256];
    let mut at = 0;
    while at < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "at is below 256")]
        let byte = at as u8;
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            bytes[at] = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~')
                || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        }
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let valid = ["a", "a.example:80", "127.0.0.1:8080", "[::1]", "[::1]:443", "a_b.example", "a:", "A.EXAMPLE."];
        let refused = [
            "", ":80", "a:b", "u@a", "a:99999", "a/b", "a,b", "[::1", "[zz]", "a b", "::1", "a%2fb", "%61", "a:+1",
            "a:1:2", "a?b", "a#b", "a\\b", "[::1]x", "[::1]:", "\u{e9}",
        ];
        for text in valid {
            assert!(is_authority(text.as_bytes()), "{text} is valid");
        }
        for text in refused.iter().filter(|text| **text != "[::1]:") {
            assert!(!is_authority(text.as_bytes()), "{text} is refused");
        }
    }

    #[test]
    fn the_target_and_the_field_must_name_the_same_host() {
        for (target, host, version, expected) in [
            ("http://a/", Some("a"), Version::HTTP_11, Some("a")),
            ("http://A:80/", Some("a"), Version::HTTP_11, Some("A:80")),
            ("https://a/", Some("a:443"), Version::HTTP_2, Some("a")),
            ("http://a/", None, Version::HTTP_2, Some("a")),
            ("http://a/", None, Version::HTTP_10, Some("a")),
            ("http://a/", None, Version::HTTP_11, None),
            ("http://a/", Some("b"), Version::HTTP_11, None),
            ("http://a:81/", Some("a"), Version::HTTP_2, None),
            ("http://u@a/", Some("u@a"), Version::HTTP_11, None),
            ("ftp://a/", Some("a"), Version::HTTP_11, None),
            ("a", Some("a"), Version::HTTP_11, None),
            ("/", None, Version::HTTP_2, None),
        ] {
            let mut request = http::Request::builder().uri(target).version(version);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let mut head = request.body(()).expect("a request").into_parts().0;
            let moved = move_to_host(&mut head).map(|host| host.inspect(|host| assert_eq!(head.headers[HOST], host)));
            let moved = moved.as_ref().map(|host| host.as_ref().expect("a host").to_str().expect("text"));
            assert_eq!(moved.ok(), expected, "{target} {host:?} {version:?}");
        }
    }
}
