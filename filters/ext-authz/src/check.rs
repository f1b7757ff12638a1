//! The request to the service: what it is told about the client's.
//!
//! **Invariant:** what it says about method, scheme, host, path and client is of this proxy's knowledge, whatever the
//! client sent under those names.

use std::net::Ipv6Addr;

use meshup_sdk::prelude::*;

/// A longer path and query the proxy would not send.
const MAX_TARGET_BYTES: usize = 65_534;

/// All headers, but those that the service sets and those that say nothing about who asks.
const ALL: &str = "*";

/// What is about the body, or about the response of the upstream and not of the service.
const NOT_ITS_BUSINESS: [&str; 9] = [
    "accept-encoding",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "trailer",
];

/// How the service is asked.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) target: Target,
    pub(crate) host: Option<Host>,
    pub(crate) headers: RequestHeaders,
}

/// `name` or `name:port`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Host(String);

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (&*text, None),
        };
        match is_host(name) && port.is_none_or(is_port) {
            true => Ok(Self(text)),
            false => Err(format!("invalid host {text:?}: expected \"name\" or \"name:port\"")),
        }
    }
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Where the service is asked, and thereby how.
#[derive(Debug)]
pub(crate) enum Target {
    /// With GET at one path, as nginx and Traefik do.
    Path(String),
    /// With the request's own method below a prefix, as Envoy does. Without a slash at its end.
    Prefix(String),
}

impl Target {
    pub(crate) fn new(path: Option<String>, prefix: Option<String>) -> Result<Self, String> {
        match (path, prefix) {
            (Some(path), None) => checked("path", path, true).map(Self::Path),
            (None, Some(prefix)) => checked("path_prefix", prefix, false)
                .map(|prefix| Self::Prefix(prefix.trim_end_matches('/').to_owned())),
            (Some(_), Some(_)) => Err("path_prefix: not together with path".to_owned()),
            (None, None) => Err("no path: give `path` (nginx, Traefik) or `path_prefix` (Envoy)".to_owned()),
        }
    }

    fn request(&self, req: &Request) -> Request {
        match self {
            Self::Path(path) => Request::get(path),
            Self::Prefix(prefix) => Request::new(req.method(), &below(prefix, req.path_and_query())),
        }
    }
}

fn checked(key: &str, path: String, query_allowed: bool) -> Result<String, String> {
    let forbidden = |byte: u8| !byte.is_ascii_graphic() || byte == b'#' || (byte == b'?' && !query_allowed);
    match path.starts_with('/') && !path.bytes().any(forbidden) {
        true => Ok(path),
        false => Err(format!("{key}: invalid path {path:?}: it begins with a slash")),
    }
}

/// `OPTIONS *` has no path.
fn below(prefix: &str, target: &str) -> String {
    let target = if target.starts_with('/') { target } else { "/" };
    [prefix, target].concat()
}

impl Check {
    /// The request to the service; `None` when its path would be too long.
    pub(crate) fn request(&self, req: &Request) -> Option<Request> {
        let mut check = self.target.request(req);
        if check.path_and_query().len() > MAX_TARGET_BYTES {
            return None;
        }
        match (&self.host, &self.target) {
            (Some(host), _) => check.set_authority(&host.0),
            (None, Target::Prefix(_)) if !req.authority().is_empty() => check.set_authority(req.authority()),
            _ => {}
        }
        self.headers.copy(req, &mut check);
        describe(req, &mut check.headers_mut());
        Some(check)
    }
}

/// Tells of the client's request in the headers that services look for.
fn describe(req: &Request, headers: &mut HeadersMut<'_>) {
    let (method, uri, host) = (req.method(), req.path_and_query(), req.authority());
    let client = exchange::client_address().unwrap_or_default();
    for (name, value) in [
        ("x-forwarded-method", method),
        ("x-forwarded-proto", req.scheme()),
        ("x-forwarded-host", host),
        ("x-forwarded-uri", uri),
        ("x-forwarded-for", &client),
        ("x-original-method", method),
        ("x-original-uri", uri),
    ] {
        headers.set(name, value);
    }
    headers.set("x-original-url", [req.scheme(), "://", host, uri].concat());
}

/// Which headers of the client's request the service sees.
#[derive(Debug)]
pub(crate) struct RequestHeaders {
    names: Vec<HeaderName>,
    /// With `*`: everything but these.
    all_but: Option<Vec<HeaderName>>,
}

impl RequestHeaders {
    /// `*` leaves out what the service is to set: a client must not tell it. Names listed beside it count nevertheless.
    pub(crate) fn new(listed: Vec<HeaderName>, set_by_service: &[HeaderName]) -> Self {
        let (stars, names): (Vec<_>, Vec<_>) = listed.into_iter().partition(|name| **name == *ALL);
        let others = NOT_ITS_BUSINESS.map(HeaderName::from_static);
        let others = others.iter().chain(set_by_service).filter(|name| !names.contains(name)).cloned().collect();
        Self { all_but: (!stars.is_empty()).then_some(others), names }
    }

    fn copy(&self, req: &Request, check: &mut Request) {
        let from = req.headers();
        let mut to = check.headers_mut();
        match &self.all_but {
            Some(all_but) => {
                let shown = |name: &str| all_but.iter().all(|other| !other.eq_ignore_ascii_case(name));
                from.iter().filter(|(name, _)| shown(name)).for_each(|(name, value)| to.append(name, value));
            }
            None => {
                for name in &self.names {
                    from.get_all(name).for_each(|value| to.append(name, value));
                }
            }
        }
    }
}
