//! The texts in the configuration that end up in a request: authorities, hosts, paths.
//!
//! It judges syntax alone, as the host does when it applies a change.
//!
//! **Invariant:** a value of these types is one that the host accepts.

use std::{net::Ipv6Addr, ops::Deref};

use serde::Deserialize;

/// Texts that were checked, and read as what they are.
macro_rules! checked_texts {
    ($($(#[$doc:meta])* $name:ident by $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name(String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $check(&text).map(Self)
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

checked_texts! {
    /// `host` or `host:port`.
    Authority by authority;
    /// A host without a port.
    Host by host;
    /// A path that begins with a slash and has no query.
    Path by path;
}

fn authority(text: &str) -> Result<String, String> {
    let (host, port) = split_port(text);
    let valid = is_host(host) && port.is_none_or(is_port);
    if valid { Ok(text.to_owned()) } else { Err(format!("invalid host {text:?}: expected \"name\" or \"name:port\"")) }
}

fn host(text: &str) -> Result<String, String> {
    if is_host(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid host {text:?}: expected a name or address, no port"))
    }
}

fn path(text: &str) -> Result<String, String> {
    match text.starts_with('/') && is_path_text(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("invalid path {text:?}: it begins with a slash, and has no query, blank or fragment")),
    }
}

/// Whether every character may stand in a path.
pub(crate) fn is_path_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !br#"?#<>`""#.contains(&byte))
}

/// Host and port of an authority.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(check: fn(&str) -> Result<String, String>, texts: &[&str]) -> Vec<bool> {
        texts.iter().map(|text| check(text).is_ok()).collect()
    }

    #[test]
    fn authorities_are_a_host_and_perhaps_a_port() {
        assert_eq!(accepted(authority, &["a", "a.example:80", "[::1]", "[::1]:8080", "192.0.2.1"]), [true; 5]);
        assert_eq!(accepted(authority, &["", ":80", "a:", "a:0", "a:70000", "u@a", "a/b", "[::g]"]), [false; 8]);
        assert_eq!(accepted(host, &["a", "[::1]"]), [true; 2]);
        assert_eq!(accepted(host, &["a:80", "::1", ""]), [false; 3]);
    }

    #[test]
    fn paths_begin_with_a_slash_and_end_before_a_query() {
        assert_eq!(accepted(path, &["/", "/a/b%20c", "/a;v=1"]), [true; 3]);
        assert_eq!(accepted(path, &["", "a", "/a?b", "/a#b", "/a b", "/ä", "/<"]), [false; 7]);
    }
}
