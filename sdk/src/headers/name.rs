//! Header names in a filter's configuration.
//!
//! **Invariant:** a name of this type is one that the host lets a filter change.

use std::{borrow::Cow, fmt, ops::Deref};

use meshup_abi::headers::{is_host_owned, is_name};
use serde::Deserialize;

/// The name of a header that a filter may change, in lower case: a token (RFC 9110, 5.1) that the host does not own.
///
/// ```
/// use meshup_sdk::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Config {
///     header: HeaderName,
/// }
///
/// let config: Config = serde_json::from_str(r#"{ "header": "X-Team" }"#).unwrap();
/// assert_eq!(&*config.header, "x-team");
/// let refused = serde_json::from_str::<Config>(r#"{ "header": "Connection" }"#).err().unwrap();
/// assert!(refused.to_string().starts_with(r#"the header "connection" belongs to the proxy"#));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderName(Cow<'static, str>);

impl HeaderName {
    /// A name that is known when the filter is built.
    ///
    /// ```
    /// # use meshup_sdk::headers::HeaderName;
    /// const ATTEMPT: HeaderName = HeaderName::from_static("x-attempt");
    /// ```
    ///
    /// # Panics
    /// When it is not a name, not in lower case or the host's: in a constant that is an error of the build.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_name(name.as_bytes()) && is_lower_case(name.as_bytes()), "not a header name in lower case");
        assert!(!is_host_owned(name.as_bytes()), "the header belongs to the proxy");
        Self(Cow::Borrowed(name))
    }
}

const fn is_lower_case(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, behind @ ..] = rest {
        if byte.is_ascii_uppercase() {
            return false;
        }
        rest = behind;
    }
    true
}

impl TryFrom<String> for HeaderName {
    type Error = InvalidHeaderName;

    fn try_from(mut name: String) -> Result<Self, InvalidHeaderName> {
        if !is_name(name.as_bytes()) {
            return Err(InvalidHeaderName::Syntax(name));
        }
        name.make_ascii_lowercase();
        if is_host_owned(name.as_bytes()) { Err(InvalidHeaderName::HostOwned(name)) } else { Ok(Self(name.into())) }
    }
}

impl Deref for HeaderName {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Why a text is not a [`HeaderName`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidHeaderName {
    /// It is not a token.
    Syntax(String),
    /// It frames the message or belongs to the connection, which are the host's. In lower case.
    HostOwned(String),
}

impl fmt::Display for InvalidHeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(name) => write!(f, "invalid header name {name:?}"),
            Self::HostOwned(name) => write!(f, "the header {name:?} belongs to the proxy"),
        }
    }
}

impl std::error::Error for InvalidHeaderName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_that_the_host_does_not_own_in_lower_case() {
        let read = |name: &str| HeaderName::try_from(name.to_owned());
        assert_eq!(read("X-Team"), Ok(HeaderName::from_static("x-team")));
        for name in ["", "a b", "a:", "\u{e4}", "a\r\nb"] {
            assert_eq!(read(name), Err(InvalidHeaderName::Syntax(name.to_owned())));
        }
        for name in ["TE", "Host", "Content-Length", "Keep-Alive"] {
            assert_eq!(read(name), Err(InvalidHeaderName::HostOwned(name.to_ascii_lowercase())));
        }
    }

    #[test]
    #[should_panic(expected = "not a header name in lower case")]
    fn a_static_name_is_in_lower_case() {
        let _ = HeaderName::from_static("X-Team");
    }
}
