//! Which origins are allowed.
//!
//! Browsers send an origin in one form: scheme, host and a port that is not the scheme's own, in lower case
//! (RFC 6454, section 6.2). Only that form is compared.
//!
//! **Invariant:** `null` is allowed only when it is listed, and a wildcard stands for whole labels of a host name.

use meshup_sdk::prelude::*;

const EXPECTED: &str =
    r#"expected "https://app.example", "https://app.example:8443", "https://*.app.example", "null" or "*""#;

/// The allowed origins.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Vec<Origin>")]
pub(crate) struct Origins {
    any: bool,
    null: bool,
    exact: Vec<String>,
    below: Vec<Below>,
}

/// Every host below a domain: `https://*.app.example`.
#[derive(Debug)]
struct Below {
    /// Up to and with `://`.
    scheme: String,
    /// From the dot on, with the port.
    rest: String,
}

/// One entry of the list.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
enum Origin {
    Any,
    Null,
    Exact(String),
    Below(Below),
}

impl Origins {
    /// Whether every origin is allowed.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// Whether `null` is.
    pub(crate) fn null(&self) -> bool {
        self.null
    }

    /// What `Access-Control-Allow-Origin` says to `origin`: itself, `*`, or nothing when it is not allowed.
    pub(crate) fn answer_to<'a>(&self, origin: &'a str) -> Option<&'a str> {
        let allowed = match origin {
            "null" => self.null,
            _ => self.any || self.exact.iter().any(|exact| exact == origin) || self.below.iter().any(|b| b.has(origin)),
        };
        allowed.then_some(if self.any { "*" } else { origin })
    }
}

impl Below {
    fn has(&self, origin: &str) -> bool {
        let labels = origin.strip_prefix(&*self.scheme).and_then(|host| host.strip_suffix(&*self.rest));
        labels.is_some_and(|labels| labels.split('.').all(is_label))
    }
}

impl TryFrom<Vec<Origin>> for Origins {
    type Error = &'static str;

    fn try_from(list: Vec<Origin>) -> Result<Self, Self::Error> {
        if list.is_empty() {
            return Err("empty, so no origin would be allowed");
        }
        let mut origins = Self::default();
        for origin in list {
            match origin {
                Origin::Any => origins.any = true,
                Origin::Null => origins.null = true,
                Origin::Exact(origin) => origins.exact.push(origin),
                Origin::Below(below) => origins.below.push(below),
            }
        }
        Ok(origins)
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match &*text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let invalid = || format!("invalid origin {text:?}: {EXPECTED}");
        let lower = text.to_ascii_lowercase();
        let (scheme, authority) =
            lower.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or_else(invalid)?;
        check_port(scheme, authority)?;
        match authority.strip_prefix('*') {
            None if is_authority(authority) => Ok(Self::Exact(lower)),
            Some(rest) if rest.strip_prefix('.').is_some_and(is_authority) => {
                Ok(Self::Below(Below { scheme: format!("{scheme}://"), rest: rest.to_owned() }))
            }
            _ => Err(invalid()),
        }
    }
}

/// A browser leaves the scheme's own port out, so that an entry with it would never match.
fn check_port(scheme: &str, authority: &str) -> Result<(), String> {
    let own = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Ok(()),
    };
    match authority.ends_with(own) {
        true => Err(format!("browsers leave the port {own} of {scheme} out; so leave it out here")),
        false => Ok(()),
    }
}

fn is_scheme(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(valid)
}

/// A host and perhaps a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    is_host(host) && port.is_none_or(is_port)
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => text.split('.').all(is_label),
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Origins {
        let list: Result<Vec<_>, _> = list.iter().map(|text| Origin::try_from((*text).to_owned())).collect();
        Origins::try_from(list.unwrap()).unwrap()
    }

    #[test]
    fn origins_are_compared_in_the_form_that_browsers_send() {
        let origins = origins(&["https://App.example", "http://app.example:8080", "https://[::1]:8443", "app://local"]);
        for (origin, allowed) in [
            ("https://app.example", true),
            ("http://app.example:8080", true),
            ("https://[::1]:8443", true),
            ("app://local", true),
            ("https://APP.example", false),
            ("https://app.example:8443", false),
            ("http://app.example", false),
            ("https://app.example/", false),
            ("https://app.example.evil.example", false),
            ("https://evilapp.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.answer_to(origin), allowed.then_some(origin), "{origin}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_labels() {
        let origins = origins(&["https://*.app.example", "http://*.dev.example:3000"]);
        for (origin, allowed) in [
            ("https://a.app.example", true),
            ("https://a.b-c.app.example", true),
            ("http://a.dev.example:3000", true),
            ("https://app.example", false),
            ("https://.app.example", false),
            ("https://a..app.example", false),
            ("http://a.app.example", false),
            ("https://a.app.example:8443", false),
            ("https://evil.example?.app.example", false),
            ("https://evil.example/.app.example", false),
            ("https://evil.example:1.app.example", false),
            ("https://user@.app.example", false),
            ("http://a.dev.example", false),
            ("https://aapp.example", false),
        ] {
            assert_eq!(origins.answer_to(origin), allowed.then_some(origin), "{origin}");
        }
    }

    #[test]
    fn everything_but_null_is_answered_with_a_star() {
        assert_eq!(origins(&["*"]).answer_to("https://a.example"), Some("*"));
        assert_eq!(origins(&["*"]).answer_to("null"), None);
        assert_eq!(origins(&["*", "null"]).answer_to("null"), Some("*"));
        assert_eq!(origins(&["null"]).answer_to("null"), Some("null"));
        assert_eq!(origins(&["null"]).answer_to("https://a.example"), None);
    }
}
