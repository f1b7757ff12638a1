//! Header values in a filter's configuration.
//!
//! **Invariant:** whoever receives a value of this type reads the very same.

use std::{fmt, ops::Deref};

use serde::Deserialize;

/// The value of a header: a text without control characters, but for tabs, and without blanks at its ends.
///
/// ```
/// use meshup_sdk::headers::HeaderValue;
///
/// let value: HeaderValue = serde_json::from_str(r#""1.1 meshup""#).unwrap();
/// assert_eq!(&*value, "1.1 meshup");
/// assert!(serde_json::from_str::<HeaderValue>(r#""a\r\nb: c""#).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderValue(String);

impl TryFrom<String> for HeaderValue {
    type Error = InvalidHeaderValue;

    fn try_from(value: String) -> Result<Self, InvalidHeaderValue> {
        let control = |c: char| c.is_control() && c != '\t';
        if !value.contains(control) && value.trim().len() == value.len() {
            Ok(Self(value))
        } else {
            Err(InvalidHeaderValue(value))
        }
    }
}

impl Deref for HeaderValue {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for HeaderValue {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A text that is not a [`HeaderValue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidHeaderValue(pub String);

impl fmt::Display for InvalidHeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid header value {:?}: no control characters, no blanks at its ends", self.0)
    }
}

impl std::error::Error for InvalidHeaderValue {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_no_control_characters_and_no_blanks_at_their_ends() {
        let is_valid = |value: &&str| HeaderValue::try_from((*value).to_owned()).is_ok();
        assert!(["", "a b", "a\tb", "\u{fc}"].iter().all(is_valid));
        assert!(!["a\r\nb", "\0", " a", "a\t", "\x7f", "a\u{85}b"].iter().any(is_valid));
    }
}
