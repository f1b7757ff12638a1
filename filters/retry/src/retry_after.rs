//! `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date in any of HTTP's three formats.
//!
//! **Invariant:** a value that is neither counts as absent.

use std::time::UNIX_EPOCH;

use meshup_sdk::prelude::*;

/// How long the upstream asks to wait; zero when that time has passed.
pub(crate) fn of(res: &Response) -> Option<Duration> {
    let value = res.headers().get("retry-after")?.trim();
    seconds(value).or_else(|| until(value))
}

fn seconds(value: &str) -> Option<Duration> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(value.parse().unwrap_or(u64::MAX)))
}

fn until(date: &str) -> Option<Duration> {
    let date = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(clock::unix()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_digits_alone() {
        let secs = |s| Some(Duration::from_secs(s));
        for (value, expected) in [
            ("0", secs(0)),
            (" 120 ", secs(120)),
            ("99999999999999999999", secs(u64::MAX)),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", secs(0)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", secs(0)),
            ("Sun Nov  6 08:49:37 1994", secs(0)),
        ] {
            assert_eq!(of(&Response::new(503).with_header("retry-after", value)), expected, "{value:?}");
        }
        assert_eq!(of(&Response::new(503)), None);
    }

    #[test]
    fn a_date_is_counted_from_now() {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + clock::unix() + Duration::from_secs(100));
        let wait = of(&Response::new(503).with_header("retry-after", date)).unwrap();
        assert!((99..=100).contains(&wait.as_secs()), "{wait:?}");
    }
}
