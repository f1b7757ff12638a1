//! Paths: the form in which they are compared, and what rules ask of them.
//!
//! A path is compared as the service behind will most likely read it: percent-encodings decoded, once. The host
//! normalises what it forwards and refuses what is odd; what gets here all the same and can be read in two ways is told
//! apart, so that no rule is asked about it.
//!
//! **Invariant:** a readable path has no empty segment but the last, none that is `.` or `..`, and no control character.

use std::borrow::Cow;

use regex_lite::Regex;
use serde::Deserialize;

/// The path decoded; `None` when two readers could take it for different ones.
pub(crate) fn readable(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        // `*`, of OPTIONS.
        return Some(Cow::Borrowed(path));
    }
    let path = if path.contains('%') { Cow::Owned(decoded(path)?) } else { Cow::Borrowed(path) };
    is_plain(&path).then_some(path)
}

/// `None` for what stands for no byte, for a slash or for something else than UTF-8.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        bytes.push(match (*byte, behind) {
            (b'%', [high, low, behind @ ..]) => {
                rest = behind;
                encoded(*high, *low)?
            }
            (b'%', _) => return None,
            (byte, _) => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn encoded(high: u8, low: u8) -> Option<u8> {
    let byte = digit(high)? << 4 | digit(low)?;
    (byte != b'/').then_some(byte)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn is_plain(path: &str) -> bool {
    let odd = |byte: u8| byte == b'\\' || byte.is_ascii_control();
    !path.bytes().any(odd) && !path.contains("//") && !path.split('/').any(is_dots)
}

/// `.` and `..`, also with parameters behind them: some services drop those first.
fn is_dots(segment: &str) -> bool {
    let name = segment.split_once(';').map_or(segment, |(name, _)| name);
    matches!(name, "." | "..")
}

/// A whole path, decoded.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Path(String);

impl TryFrom<String> for Path {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = readable(&text).filter(|_| text.starts_with('/') && !text.contains(['?', '#']));
        let path = path.map(|path| Self(path.into_owned()));
        path.ok_or_else(|| {
            format!("invalid path {text:?}: it begins with a slash, has no query, no empty or dot segment and no encoded slash")
        })
    }
}

/// A path's beginning: whole segments, without the slash at their end.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Path")]
pub(crate) struct PathPrefix(String);

impl From<Path> for PathPrefix {
    fn from(path: Path) -> Self {
        Self(path.0.trim_end_matches('/').to_owned())
    }
}

/// An expression for a whole path.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PathRegex(Regex);

impl TryFrom<String> for PathRegex {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        let invalid = |error: regex_lite::Error| format!("invalid expression {pattern:?}: {error}");
        // By itself first: it must not close the group that anchors it.
        Regex::new(&pattern).map_err(invalid)?;
        Regex::new(&format!("^(?s:{pattern})$")).map(Self).map_err(invalid)
    }
}

/// What a rule asks of the path: one of these.
#[derive(Debug)]
pub(crate) enum PathCondition {
    Exact(Box<[Path]>),
    Prefix(Box<[PathPrefix]>),
    Regex(Box<[PathRegex]>),
}

impl PathCondition {
    /// Whether it holds for a readable path.
    pub(crate) fn holds(&self, path: &str) -> bool {
        match self {
            Self::Exact(paths) => paths.iter().any(|exact| exact.0 == path),
            Self::Prefix(prefixes) => prefixes.iter().any(|prefix| is_below(path, &prefix.0)),
            Self::Regex(expressions) => expressions.iter().any(|expression| expression.0.is_match(path)),
        }
    }
}

/// Whether `name` is `prefix` or continues it with a slash.
pub(crate) fn is_below(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readable_path_is_decoded_once() {
        for (path, expected) in [
            ("/", "/"),
            ("*", "*"),
            ("/a/b/", "/a/b/"),
            ("/%61dmin", "/admin"),
            ("/caf%C3%A9", "/caf\u{e9}"),
            ("/a%3Fb%23", "/a?b#"),
            ("/100%25", "/100%"),
            ("/%2561dmin", "/%61dmin"),
            ("/a..b/.c/...", "/a..b/.c/..."),
            ("/a;v=1", "/a;v=1"),
        ] {
            assert_eq!(readable(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_readable() {
        for path in [
            "//",
            "//a",
            "/a//b",
            "/a/../b",
            "/a/..",
            "/.",
            "/a/./b",
            "/%2e%2e/a",
            "/.%2E",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0ab",
            "/a%7f",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%+1",
            "/a%ff",
            "/a%c0%af",
            "/..;/a",
            "/a/.;x=1/b",
        ] {
            assert_eq!(readable(path), None, "{path}");
        }
    }

    fn exact(text: &str) -> PathCondition {
        PathCondition::Exact([Path::try_from(text.to_owned()).unwrap()].into())
    }

    fn prefix(text: &str) -> PathCondition {
        PathCondition::Prefix([Path::try_from(text.to_owned()).unwrap().into()].into())
    }

    fn regex(text: &str) -> PathCondition {
        PathCondition::Regex([PathRegex::try_from(text.to_owned()).unwrap()].into())
    }

    #[test]
    fn conditions_hold_for_whole_segments_and_whole_paths() {
        for (condition, holds, fails) in [
            (exact("/a"), &["/a"][..], &["/a/", "/ab", "/A", "/"][..]),
            (exact("/caf%C3%A9"), &["/caf\u{e9}"], &["/caf%C3%A9"]),
            (prefix("/v1"), &["/v1", "/v1/", "/v1/a"], &["/v10", "/", "/V1"]),
            (prefix("/v1/"), &["/v1", "/v1/a"], &["/v10"]),
            (prefix("/"), &["/", "/a"], &["*"]),
            (regex("/users/[0-9]+"), &["/users/7"], &["/users/7/x", "/x/users/7", "/users/"]),
            (regex("/a|/b"), &["/a", "/b"], &["/ab", "/a/b"]),
            (regex("/x/.*"), &["/x/\n"], &["/x"]),
            (regex("(?i)/admin"), &["/ADMIN"], &["/admin2"]),
        ] {
            for path in holds {
                assert!(condition.holds(path), "{condition:?} {path}");
            }
            for path in fails {
                assert!(!condition.holds(path), "{condition:?} {path}");
            }
        }
    }

    #[test]
    fn an_expression_cannot_leave_its_anchors() {
        for pattern in ["a)|(b", "(", "/(?x) a # "] {
            assert!(PathRegex::try_from(pattern.to_owned()).is_err(), "{pattern}");
        }
    }
}
