//! Single values: numbers, durations, sizes, addresses, names, words from a list; and how they are written.
//!
//! **Invariant:** what [`duration_text`] and [`size_text`] write reads back as the same value.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::de::DeValue;

use super::{
    diagnostic::quoted,
    raw::{Fault, Value},
    suggest,
};

/// A year: more is a slip, and near the end of the clock's range arithmetic on instants would overflow.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);
const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// An integer within a range.
pub(super) fn integer(value: &Value<'_>, allowed: RangeInclusive<u64>) -> Result<u64, Fault> {
    let help = || format!("allowed: {} to {}", allowed.start(), allowed.end());
    let DeValue::Integer(number) = value.inner() else { return Err(value.expected("an integer").help(help())) };
    let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
    let out_of_range = || Fault::new(format!("{} is out of range", quoted(&number.to_string()))).help(help());
    parsed.filter(|number| allowed.contains(number)).ok_or_else(out_of_range)
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, Fault> {
    match value.inner() {
        DeValue::Boolean(boolean) => Ok(*boolean),
        _ => Err(value.expected("`true` or `false`")),
    }
}

/// [`integer`] as `usize`.
pub(super) fn count(value: &Value<'_>, allowed: RangeInclusive<u64>) -> Result<usize, Fault> {
    integer(value, allowed).and_then(to_usize)
}

/// A duration of at least a millisecond.
pub(super) fn duration(value: &Value<'_>) -> Result<Duration, Fault> {
    duration_within(value, Duration::from_millis(1)..=MAX_DURATION)
}

/// A duration that may be zero.
pub(super) fn duration_or_zero(value: &Value<'_>) -> Result<Duration, Fault> {
    duration_within(value, Duration::ZERO..=MAX_DURATION)
}

/// A duration within a range.
pub(super) fn duration_within(value: &Value<'_>, allowed: RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let text = value.text("a duration such as `\"250ms\"`").map_err(|fault| fault.help(DURATION_HELP))?;
    let duration = parse_duration(text)?;
    let help = || format!("allowed: {} to {}", duration_text(*allowed.start()), duration_text(*allowed.end()));
    let out_of_range = || Fault::new(format!("{} is out of range", quoted(text))).help(help());
    allowed.contains(&duration).then_some(duration).ok_or_else(out_of_range)
}

const DURATION_HELP: &str = "a whole number and one of ms, s, m, h, for example `\"10s\"`";
const SIZE_HELP: &str = "a whole number and one of B, KiB, MiB, GiB, for example `\"64KiB\"`, or an integer of bytes";

fn parse_duration(text: &str) -> Result<Duration, Fault> {
    let millis = number_with_unit(text, &DURATION_UNITS);
    let fault = || Fault::new(format!("{} is not a duration", quoted(text))).help(DURATION_HELP);
    millis.map(Duration::from_millis).ok_or_else(fault)
}

/// A size in bytes, within a range.
pub(super) fn size(value: &Value<'_>, allowed: RangeInclusive<u64>) -> Result<u64, Fault> {
    if matches!(value.inner(), DeValue::Integer(_)) {
        return integer(value, allowed);
    }
    let text = value.text("a size such as `\"64KiB\"`").map_err(|fault| fault.help(SIZE_HELP))?;
    let bytes = parse_size(text)?;
    let help = || format!("allowed: {} to {}", size_text(*allowed.start()), size_text(*allowed.end()));
    let out_of_range = || Fault::new(format!("{} is out of range", quoted(text))).help(help());
    allowed.contains(&bytes).then_some(bytes).ok_or_else(out_of_range)
}

/// [`size`] as `usize`.
pub(super) fn size_in_memory(value: &Value<'_>, allowed: RangeInclusive<u64>) -> Result<usize, Fault> {
    size(value, allowed).and_then(to_usize)
}

fn to_usize(number: u64) -> Result<usize, Fault> {
    usize::try_from(number).map_err(|_| Fault::new(format!("`{number}` is too large for this machine")))
}

fn parse_size(text: &str) -> Result<u64, Fault> {
    let fault = || {
        let binary = text.replace("kB", "KiB").replace("KB", "KiB").replace("MB", "MiB").replace("GB", "GiB");
        let slip = if number_with_unit(&binary, &SIZE_UNITS).is_some() && binary != text {
            format!("did you mean {}? ", quoted(&binary))
        } else {
            String::new()
        };
        Fault::new(format!("{} is not a size", quoted(text))).help(format!("{slip}{SIZE_HELP}"))
    };
    number_with_unit(text, &SIZE_UNITS).ok_or_else(fault)
}

/// Digits directly followed by a unit; `None` also when the product overflows.
fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(unit_at)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration as the configuration writes it.
pub(super) fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // "0s" and "90s" read better than "0h" and "90000ms"; "1m30s" is no notation of ours.
    if millis == 0 { "0s".into() } else { with_largest_unit(millis, &DURATION_UNITS) }
}

/// A size as the configuration writes it.
pub(super) fn size_text(bytes: u64) -> String {
    if bytes == 0 { "0B".into() } else { with_largest_unit(bytes, &SIZE_UNITS) }
}

fn with_largest_unit(number: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().rev().find(|(_, factor)| number.is_multiple_of(*factor));
    unit.map_or_else(|| number.to_string(), |(name, factor)| format!("{}{name}", number / factor))
}

/// A path; relative ones are relative to the configuration file.
pub(super) fn beside(value: &Value<'_>, path: &str) -> PathBuf {
    let folder = value.source().file().parent();
    folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
}

/// `IP:port` to listen on; port 0 lets the system choose.
pub(super) fn listen_address(value: &Value<'_>) -> Result<SocketAddr, Fault> {
    let text = value.text("an address such as `\"0.0.0.0:8080\"`")?;
    text.parse().map_err(|_| not_an_address(text, "`\"0.0.0.0:8080\"`"))
}

/// `IP:port` to connect to.
pub(super) fn endpoint(value: &Value<'_>) -> Result<SocketAddr, Fault> {
    let text = value.text("an address such as `\"127.0.0.1:9000\"`")?;
    let address: SocketAddr = text.parse().map_err(|_| not_an_endpoint(text))?;
    let port_is_zero = || Fault::new(format!("{} has port 0", quoted(text))).help("allowed: ports 1 to 65535");
    (address.port() != 0).then_some(address).ok_or_else(port_is_zero)
}

fn not_an_address(text: &str, example: &str) -> Fault {
    let slip = if text.parse::<std::net::IpAddr>().is_ok() {
        "the port is missing; "
    } else if text.parse::<u16>().is_ok() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()) {
        "the IP address is missing; "
    } else {
        ""
    };
    let help = format!("{slip}write IP:port, for example {example} or `\"[::1]:8080\"`");
    Fault::new(format!("{} is not an address", quoted(text))).help(help)
}

fn not_an_endpoint(text: &str) -> Fault {
    let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let is_name = name.contains(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && (port.is_empty() || port.parse::<u16>().is_ok());
    if is_name {
        let help = "write the address as IP:port, for example `\"127.0.0.1:9000\"`";
        return Fault::new(format!("{}: host names are not supported in this version yet", quoted(text))).help(help);
    }
    if text.contains("://") {
        return not_an_address(text, "`\"127.0.0.1:9000\"`").help("write IP:port without a scheme");
    }
    not_an_address(text, "`\"127.0.0.1:9000\"`")
}

/// A word from a list, and what it means.
pub(super) fn one_of<T: Copy>(value: &Value<'_>, words: &[(&str, T)]) -> Result<T, Fault> {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let text = value.text("a string").map_err(|fault| fault.help(suggest::help("", "allowed", &names)))?;
    let unknown =
        || Fault::new(format!("{} is not allowed here", quoted(text))).help(suggest::help(text, "allowed", &names));
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(unknown)
}

/// A name of a listener, route, filter or upstream. It shows up in logs, metrics and headers.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if (1..=128).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(Fault::new(format!("{} is not a name", quoted(name)))
        .help("1 to 128 ASCII letters, digits, `-`, `_`, `.`, `/`"))
}

/// [`check_name`] of a value.
pub(super) fn name<'a>(value: &Value<'a>) -> Result<&'a str, Fault> {
    let name = value.text("a string")?;
    check_name(name).map(|()| name)
}

/// A name that must be one of `known`, which are `what`.
pub(super) fn reference<'a>(value: &Value<'a>, what: &str, known: &[&str]) -> Result<&'a str, Fault> {
    let name = value.text("a string")?;
    let unknown =
        || Fault::new(format!("there is no {what} {}", quoted(name))).help(suggest::help(name, "defined", known));
    known.contains(&name).then_some(name).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("1m", Some(60_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
        ] {
            assert_eq!(parse_duration(text).ok().map(|d| d.as_millis()), millis, "{text}");
        }
        for text in [
            "",
            "s",
            "10",
            "10 s",
            "1.5s",
            "-1s",
            "+1s",
            "10sec",
            "10S",
            "1m30s",
            "99999999999999999999s",
            "18446744073709551615h",
            "１s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("16MiB", 1 << 24), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text).ok(), Some(bytes), "{text}");
        }
        for text in ["", "64", "64KB", "64 KiB", "-1KiB", "1.5MiB", "18446744073709551615GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_decimal_unit_is_a_likely_slip() {
        let Err(fault) = parse_size("64kB") else { panic!("64kB is no size") };
        assert!(format!("{fault:?}").contains("did you mean `64KiB`?"));
    }

    #[test]
    fn written_values_read_back() {
        for millis in [0, 1, 250, 999, 1000, 1001, 60_000, 90_000, 3_600_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&duration_text(duration)).ok(), Some(duration));
        }
        for bytes in [0, 1, 1023, 1024, 65_536, 100_000, 1 << 20, 1 << 30, 1 << 34] {
            assert_eq!(parse_size(&size_text(bytes)).ok(), Some(bytes));
        }
        assert_eq!((duration_text(Duration::from_secs(90)), size_text(65_536)), ("90s".into(), "64KiB".into()));
    }

    #[test]
    fn names() {
        for good in ["a", "orders-next", "v1.orders", "team/orders_2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a\n", "a\"b", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
