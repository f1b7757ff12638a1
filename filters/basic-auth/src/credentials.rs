//! What a client presents: `Basic` and the base64 of `user:password` (RFC 7617, 2).
//!
//! **Invariant:** neither part has a control character, and nothing here shows the password.

use base64::{Engine, engine::general_purpose::STANDARD};

const SCHEME: &str = "basic";

/// User and password.
#[derive(PartialEq, Eq)]
pub(crate) struct Credentials {
    text: Vec<u8>,
    colon: usize,
}

impl Credentials {
    /// Reads the value of `Authorization`. The password may hold colons, the user cannot.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
        let encoded = rest.trim_ascii_start();
        if !scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) || encoded.len() == rest.len() {
            return None;
        }
        let text = STANDARD.decode(encoded).ok()?;
        let colon = text.iter().position(|&byte| byte == b':')?;
        (!text.iter().any(u8::is_ascii_control)).then_some(Self { text, colon })
    }

    pub(crate) fn user(&self) -> &[u8] {
        &self.text[..self.colon]
    }

    pub(crate) fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Credentials::parse(value.as_bytes()).map(|credentials| (text(credentials.user()), text(credentials.password())))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn the_first_colon_ends_the_user() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        // The example of RFC 7617, 2.
        assert_eq!(parsed("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), pair("Aladdin", "open sesame"));
        assert_eq!(parsed("bAsIc   YTpi"), pair("a", "b"));
        assert_eq!(parsed(&basic("a:b:c")), pair("a", "b:c"));
        assert_eq!(parsed(&basic("a:")), pair("a", ""));
        assert_eq!(parsed(&basic(":b")), pair("", "b"));
        // RFC 7617, 2.1.
        assert_eq!(parsed("Basic dGVzdDoxMjPCow=="), pair("test", "123\u{a3}"));
    }

    #[test]
    fn what_is_malformed_is_nobody() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "BasicYTpi",
            "Bearer YTpi",
            "Basic YTpi YTpi",
            "Basic YTpi,",
            "Basic YT pi",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==",
            "Basic !!!!",
            "YTpi",
        ] {
            assert!(parsed(value).is_none(), "{value}");
        }
        for text in ["no colon", "", "a\n:b", "a:b\0", "a:\x7f", "a\t:b"] {
            assert!(parsed(&basic(text)).is_none(), "{text:?}");
        }
    }
}
