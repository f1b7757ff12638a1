//! Durations in a filter's configuration: `"250ms"`, `"10s"`, `"1m"`, `"1h"`, also `"50us"`.
//!
//! For `#[serde(with = "duration")]` on a `Duration`, or with `default` beside it on an `Option<Duration>`.
//!
//! **Invariant:** a refused value is named in the error.
//!
//! ```
//! use meshup_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     #[serde(with = "duration")]
//!     interval: Duration,
//!     #[serde(default, with = "duration")]
//!     limit: Option<Duration>,
//! }
//!
//! let config: Config = serde_json::from_str(r#"{ "interval": "250ms" }"#).unwrap();
//! assert_eq!((config.interval, config.limit), (Duration::from_millis(250), None));
//! ```

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

/// The `Duration` or `Option<Duration>` that is written as a text.
///
/// # Errors
/// The deserializer's own when the text is not a duration.
pub fn deserialize<'de, D: Deserializer<'de>, T: From<Duration>>(deserializer: D) -> Result<T, D::Error> {
    let text = Cow::<'_, str>::deserialize(deserializer)?;
    let expected = r#"expected a number with a unit, such as "250ms", "10s", "1m" or "1h""#;
    parse(&text).map(T::from).ok_or_else(|| D::Error::custom(format_args!("invalid duration {text:?}: {expected}")))
}

/// The duration that `text` stands for.
///
/// ```
/// assert_eq!(meshup_sdk::duration::parse("10s"), Some(std::time::Duration::from_secs(10)));
/// assert_eq!(meshup_sdk::duration::parse("10"), None);
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        let seconds = |s| Some(Duration::from_secs(s));
        for (text, expected) in [
            ("50us", Some(Duration::from_micros(50))),
            ("0ms", Some(Duration::ZERO)),
            ("10s", seconds(10)),
            ("2m", seconds(120)),
            ("1h", seconds(3600)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("1d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
