//! One normal form of the path (RFC 3986 section 6.2.2): what routes match, filters authorise and the upstream gets is
//! the same text, and another reader of it does not find another resource in it.
//!
//! Dot segments are removed, `//` is one `/`, encoded letters, digits and `-._~` are decoded, other encodings get upper
//! case, what RFC 3986 does not allow in a path is encoded. What readers are known to disagree about is refused: see
//! [`Unsafe`]. The query is not touched.
//!
//! **Invariant:** a path that is normal already, as nearly all are, costs one look at each byte and nothing else.

use http::{
    Method, Uri, Version,
    uri::{InvalidUri, PathAndQuery},
};

use crate::config::PathNormalization;

/// Why a target is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsafe {
    #[error("a target that is neither a path nor a whole URI")]
    Form,
    #[error("a percent sign without two hexadecimal digits")]
    Encoding,
    #[error("an encoded slash, backslash or control character")]
    Encoded,
    #[error("a byte that has no place in a target")]
    Byte,
    #[error("an encoding that is not UTF-8")]
    Utf8,
    #[error("a dot segment that leads above the root, or that only some readers see")]
    Dots,
    #[error(transparent)]
    Uri(#[from] InvalidUri),
}

/// Brings the target into origin form and its path into the normal form.
///
/// # Errors
/// [`Unsafe`].
pub(super) fn normalize(uri: &mut Uri, request: (&Method, Version), how: PathNormalization) -> Result<(), Unsafe> {
    if uri.authority().is_some() {
        *uri = origin_form(uri, request.1)?;
    }
    let path = uri.path();
    if path == "*" {
        return if request.0 == Method::OPTIONS { Ok(()) } else { Err(Unsafe::Form) };
    }
    if !path.starts_with('/') {
        return Err(Unsafe::Form);
    }
    if uri.query().is_some_and(|query| !query.is_ascii()) {
        return Err(Unsafe::Byte);
    }
    if how == PathNormalization::Off || is_normal(path.as_bytes()) {
        return Ok(());
    }
    let normal = rebuilt(path.as_bytes(), how)?;
    if normal != path.as_bytes() {
        *uri = with_path(normal, uri)?;
    }
    Ok(())
}

/// The path and query of a whole URI; only in HTTP/1 may it have no path at all (RFC 9112 section 3.2.2).
fn origin_form(uri: &Uri, version: Version) -> Result<Uri, Unsafe> {
    match uri.path_and_query() {
        None => Ok(Uri::from_static("/")),
        Some(target) if !target.as_str().starts_with('?') => Ok(target.clone().into()),
        Some(_) if version == Version::HTTP_2 => Err(Unsafe::Form),
        Some(_) => Ok(with_path(b"/".to_vec(), uri)?),
    }
}

fn with_path(mut path: Vec<u8>, uri: &Uri) -> Result<Uri, InvalidUri> {
    if let Some(query) = uri.query() {
        path.push(b'?');
        path.extend_from_slice(query.as_bytes());
    }
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)).map(Uri::from)
}

const SLASH: u8 = 1;
const DOT: u8 = 2;
const ODD: u8 = 4;

/// For each byte what it is (the lower half) and what must not follow it (the upper half).
static STEPS: [u8; 256] = steps();

const fn steps() -> [u8; 256] {
    let mut steps = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "at is below 256")]
        let byte = at as u8;
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            steps[at] = match byte {
                b'/' => SLASH | (SLASH | DOT | ODD) << 4,
                b'.' => DOT | ODD << 4,
                _ if is_path_byte(byte) => ODD << 4,
                _ => ODD | ODD << 4,
            };
        }
        at += 1;
    }
    steps
}

/// What may stand in a path as it is: `pchar` but for the percent sign (RFC 3986 section 3.3).
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether nothing in the path needs a closer look.
fn is_normal(path: &[u8]) -> bool {
    let (mut found, mut forbidden) = (0, ODD);
    for &byte in path {
        let step = STEPS.get(usize::from(byte)).copied().unwrap_or(ODD);
        found |= step & forbidden;
        forbidden = step >> 4;
    }
    found == 0
}

/// The normal form of a path that begins with a slash.
fn rebuilt(path: &[u8], how: PathNormalization) -> Result<Vec<u8>, Unsafe> {
    let decoded = decoded(path, how)?;
    let mut normal = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => ascend(&mut normal)?,
            b"" if how == PathNormalization::Strict && !last => {}
            _ if hides_dots(segment) => return Err(Unsafe::Dots),
            _ => {
                normal.push(b'/');
                normal.extend_from_slice(segment);
                continue;
            }
        }
        if last {
            normal.push(b'/');
        }
    }
    Ok(normal)
}

fn ascend(normal: &mut Vec<u8>) -> Result<(), Unsafe> {
    let parent = normal.iter().rposition(|&byte| byte == b'/').ok_or(Unsafe::Dots)?;
    normal.truncate(parent);
    Ok(())
}

/// Whether a reader that drops parameters (`..;x`) or decodes slashes first (`..%2F`) sees a dot segment.
fn hides_dots(segment: &[u8]) -> bool {
    let dots = |piece: &[u8]| matches!(piece.split(|&byte| byte == b';').next(), Some(b"." | b".."));
    if !segment.contains(&b'%') {
        return dots(segment);
    }
    let text = String::from_utf8_lossy(segment).replace("%5C", "%2F");
    text.split("%2F").any(|piece| dots(piece.as_bytes()))
}

/// The path with one spelling of every byte.
fn decoded(path: &[u8], how: PathNormalization) -> Result<Vec<u8>, Unsafe> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut octets = Vec::new();
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let octet = match byte {
            b'%' => {
                let (octet, behind) = encoded(behind)?;
                rest = behind;
                octet
            }
            b'/' => {
                decoded.push(byte);
                octets.push(byte);
                continue;
            }
            b'\\' | 0..=b' ' | 0x7f.. => return Err(Unsafe::Byte),
            _ => byte,
        };
        octets.push(octet);
        match octet {
            0..=0x1f | 0x7f => return Err(Unsafe::Encoded),
            b'/' | b'\\' if how == PathNormalization::Strict => return Err(Unsafe::Encoded),
            _ if is_unreserved(octet) || (byte != b'%' && is_path_byte(octet)) => decoded.push(octet),
            _ => encode(octet, &mut decoded),
        }
    }
    let readable = how == PathNormalization::Relaxed || std::str::from_utf8(&octets).is_ok();
    if readable { Ok(decoded) } else { Err(Unsafe::Utf8) }
}

/// The octet of two hexadecimal digits, and what is behind them.
fn encoded(behind: &[u8]) -> Result<(u8, &[u8]), Unsafe> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (&[high, low], behind) = behind.split_first_chunk().ok_or(Unsafe::Encoding)?;
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low, behind)),
        _ => Err(Unsafe::Encoding),
    }
}

fn encode(octet: u8, into: &mut Vec<u8>) {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    into.extend_from_slice(&[b'%', digit(octet >> 4), digit(octet & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathNormalization::{Off, Relaxed, Strict};

    /// The target after normalisation, or why it is refused.
    fn normal(target: &str, how: PathNormalization) -> Result<String, String> {
        let mut uri = Uri::try_from(target).map_err(|error| error.to_string())?;
        normalize(&mut uri, (&Method::GET, Version::HTTP_11), how).map_err(|error| error.to_string())?;
        Ok(uri.to_string())
    }

    #[test]
    fn a_target_has_one_normal_form() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b?c=/../%2f//", "/a/b?c=/../%2f//"),
            ("/a/../b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/a/..", "/"),
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/%61/%2e%2E/%7e%5F-", "/~_-"),
            ("/a%2e", "/a."),
            ("/%c3%a9%3f%3F", "/%C3%A9%3F%3F"),
            ("/%252e%252E", "/%252e%252E"),
            ("/.well-known/..a/b..", "/.well-known/..a/b.."),
            ("/a;x=1/b,c:@!$&'()*+=", "/a;x=1/b,c:@!$&'()*+="),
            ("/a%20b|c", "/a%20b%7Cc"),
            ("/%3b", "/%3B"),
            ("/a?", "/a?"),
            ("http://h", "/"),
            ("http://h?x", "/?x"),
            ("http://h/%41/../b?x", "/b?x"),
        ] {
            assert_eq!(normal(target, Strict).as_deref(), Ok(expected), "{target}");
            assert_eq!(normal(expected, Strict).as_deref(), Ok(expected), "{target}: once is enough");
        }
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        for target in "/.. /../a /a/../../b /%2e%2e/a /a/..;/b /a/..;x/b /.;/b /a%2fb /a%2Fb /a%5cb /a%5C.. /%00 \
            /a%0d%0ab /%1f /%7F /% /%4 /%zz /%2 /%c0%af /%e0%80%af /%ff /%c3/%a9 /\u{e9} /?\u{e9} /a\\b *"
            .split(' ')
        {
            assert!(normal(target, Strict).is_err(), "{target}: {:?}", normal(target, Strict));
        }
    }

    #[test]
    fn relaxed_lets_encoded_slashes_and_empty_segments_pass_but_no_hidden_dots() {
        for (target, expected) in [
            ("/a%2fb%5c", "/a%2Fb%5C"),
            ("/a//b/", "/a//b/"),
            ("//", "//"),
            ("/a//../b", "/a/b"),
            ("/%ff", "/%FF"),
            ("/a/../%62", "/b"),
        ] {
            assert_eq!(normal(target, Relaxed).as_deref(), Ok(expected), "{target}");
        }
        for target in ["/a/..%2fb", "/a/x%2f..", "/a%5c..%5cb", "/a/%2e%2e%2fb", "/a/..;%2f", "/%00", "/..", "/%zz"] {
            assert!(normal(target, Relaxed).is_err(), "{target}: {:?}", normal(target, Relaxed));
        }
    }

    #[test]
    fn off_leaves_the_path_alone() {
        for target in ["/a/../b", "//a", "/%2e%2e", "/a%2fb", "/%zz"] {
            assert_eq!(normal(target, Off).as_deref(), Ok(target));
        }
        assert!(normal("*", Off).is_err());
    }

    #[test]
    fn the_quick_look_agrees_with_the_thorough_one() {
        let bytes = b"/.%aA;|2\\ ~?-_:";
        for first in bytes {
            for second in bytes {
                for third in bytes {
                    let path = [b'/', *first, *second, *third];
                    if is_normal(&path) {
                        assert_eq!(rebuilt(&path, Strict).ok().as_deref(), Some(&path[..]), "{path:?}");
                    }
                }
            }
        }
    }
}
