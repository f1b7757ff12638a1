//! Sizes in a filter's configuration: `"64KiB"`, `"1MiB"`, `"1GiB"`, `"512B"`.
//!
//! For `#[serde(with = "size")]` on a `usize` or `u64`.
//!
//! **Invariant:** a refused value is named in the error.
//!
//! ```
//! use meshup_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     #[serde(with = "size")]
//!     max_body: usize,
//! }
//!
//! let config: Config = serde_json::from_str(r#"{ "max_body": "64KiB" }"#).unwrap();
//! assert_eq!(config.max_body, 65536);
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::Error};

/// The number of bytes that is written as a text.
///
/// # Errors
/// The deserializer's own when the text is not a size or does not fit.
pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    let text = Cow::<'_, str>::deserialize(deserializer)?;
    let expected = r#"expected a number with a unit, such as "512B", "64KiB", "1MiB" or "1GiB""#;
    parse(&text)
        .and_then(|bytes| T::try_from(bytes).ok())
        .ok_or_else(|| D::Error::custom(format_args!("invalid size {text:?}: {expected}")))
}

/// The number of bytes that `text` stands for.
///
/// ```
/// assert_eq!(meshup_sdk::size::parse("64KiB"), Some(65536));
/// assert_eq!(meshup_sdk::size::parse("64K"), None);
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_whole_number_and_a_unit() {
        for (text, expected) in [
            ("512B", Some(512)),
            ("1KiB", Some(1024)),
            ("16MiB", Some(16 << 20)),
            ("2GiB", Some(2 << 30)),
            ("512", None),
            ("KiB", None),
            ("1kb", None),
            ("99999999999999GiB", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
