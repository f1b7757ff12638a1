//! A redirect: the URL that the client is sent to.
//!
//! The URL is always absolute, so that a path like `//elsewhere.example` cannot lead to another host.
//!
//! **Invariant:** a request that is already where it would be sent is not redirected.

use meshup_sdk::prelude::*;

use crate::syntax::{Host, Path, split_port};

/// `{ scheme = "https", host = "...", port = 8443, path = "/", status = 301 }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redirect {
    scheme: Option<Scheme>,
    host: Option<Host>,
    port: Option<u16>,
    path: Option<Path>,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "u16")]
struct Status(u16);

impl Default for Status {
    fn default() -> Self {
        Self(302)
    }
}

impl TryFrom<u16> for Status {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        match status {
            301 | 302 | 303 | 307 | 308 => Ok(Self(status)),
            _ => Err(format!("invalid status {status}: expected 301, 302, 303, 307 or 308")),
        }
    }
}

impl Redirect {
    pub(crate) fn status(&self) -> u16 {
        self.status.0
    }

    /// Whether it names no part of a URL.
    pub(crate) fn goes_nowhere(&self) -> bool {
        self.scheme.is_none() && self.host.is_none() && self.port.is_none() && self.path.is_none()
    }

    /// Where the client is sent; `None` when it is there, or when it asked for no path. `target` is path and query.
    pub(crate) fn location(&self, req: &Request, target: &str) -> Option<String> {
        if !target.starts_with('/') {
            return None;
        }
        let (host, port) = split_port(req.authority());
        let here = url(req.scheme(), host, port, req.path_and_query());
        let there = self.url(req, target);
        (here != there).then_some(there)
    }

    /// The host of the new URL; empty when a request of HTTP/1.0 names none and neither does the configuration.
    pub(crate) fn host<'a>(&'a self, req: &'a Request) -> &'a str {
        self.host.as_deref().unwrap_or(split_port(req.authority()).0)
    }

    /// Another scheme or host means its default port, unless a port is given.
    fn url(&self, req: &Request, target: &str) -> String {
        let (_, port) = split_port(req.authority());
        let scheme = self.scheme.map_or(req.scheme(), |scheme| scheme.as_str());
        let given = self.port.map(|port| port.to_string());
        let port = match self.scheme.is_some() || self.host.is_some() {
            true => given.as_deref(),
            false => given.as_deref().or(port),
        };
        url(scheme, self.host(req), port, &self.target(target))
    }

    fn target<'a>(&'a self, target: &'a str) -> std::borrow::Cow<'a, str> {
        match (&self.path, target.find('?')) {
            (None, _) => target.into(),
            (Some(path), None) => (**path).into(),
            (Some(path), Some(query)) => [path, &target[query..]].concat().into(),
        }
    }
}

/// A URL without its scheme's own port.
fn url(scheme: &str, host: &str, port: Option<&str>, target: &str) -> String {
    let default = if scheme == "https" { "443" } else { "80" };
    match port.filter(|port| !port.is_empty() && *port != default) {
        Some(port) => format!("{scheme}://{host}:{port}{target}"),
        None => format!("{scheme}://{host}{target}"),
    }
}
