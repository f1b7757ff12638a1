//! Request and response heads at the border: one form inside, hop-by-hop fields off (RFC 9110 section 7.6.1),
//! `X-Forwarded-*` on.
//!
//! **Invariant:** inside, a request has its authority in `host`, an origin-form target, and no field that belongs to a
//! connection.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{self, Entry, HOST},
    request::Parts,
    uri::PathAndQuery,
};
use meshup_abi::{ErrorKind, headers::is_hop_by_hop};

use super::wishes::Wishes;
use crate::config::{self, ForwardedHeaders, ListenerLimits, Network};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// What the proxy tells the upstream about the client.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub policy: ForwardedHeaders,
    /// The client's IP address.
    pub client: HeaderValue,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// Holds an HTTP/2 head to the limits; HTTP/1 is held to them by its parser. Sizes are as they stand in HTTP/1.
///
/// # Errors
/// [`ErrorKind::UriTooLong`] when the target alone is over the limit, [`ErrorKind::HeadersTooLarge`].
pub(crate) fn check_size(head: &Parts, limits: &ListenerLimits) -> Result<(), ErrorKind> {
    /// `: ` and CR LF.
    const AROUND_FIELD: usize = 4;
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.max_header_bytes {
        return Err(ErrorKind::UriTooLong);
    }
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + AROUND_FIELD;
    let bytes: usize = target + head.headers.iter().map(field).sum::<usize>();
    let fits = bytes <= limits.max_header_bytes && head.headers.len() <= limits.max_headers;
    if fits { Ok(()) } else { Err(ErrorKind::HeadersTooLarge) }
}

/// Why a request is refused for its head alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unacceptable {
    /// Its target or authority is missing, ambiguous or not valid.
    Invalid,
    /// It asks for a tunnel to anywhere.
    Connect,
    /// It expects something else than `100-continue`.
    Expectation,
}

/// Brings a client's request into the inner form; says what it asked of the connection.
///
/// # Errors
/// [`Unacceptable`]
pub(crate) fn accept(head: &mut Parts, forwarded: &Forwarded) -> Result<Wishes, Unacceptable> {
    if head.method == Method::CONNECT {
        return Err(Unacceptable::Connect);
    }
    authority_to_host(head).map_err(|_| Unacceptable::Invalid)?;
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    let (te, wishes) = strip_hop_by_hop(&mut head.headers);
    if te == Te::Trailers {
        head.headers.insert(header::TE, TRAILERS);
    }
    forward(&mut head.headers, forwarded);
    wishes.of(head.version)
}

/// Takes the fields of the upstream's connection off its response. A length beside chunks does not count (RFC 9112
/// section 6.3).
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
}

/// Moves the authority of an absolute target (HTTP/2, or RFC 9112 section 3.2.2) to `host`, and checks that there is
/// exactly one.
fn authority_to_host(head: &mut Parts) -> Result<(), ErrorKind> {
    if let Some(authority) = head.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| ErrorKind::BadRequest)?;
        head.headers.insert(HOST, host);
        head.uri = origin_form(&head.uri)?;
    } else if head.headers.get_all(HOST).iter().count() > 1 {
        return Err(ErrorKind::BadRequest);
    }
    match head.headers.get(HOST) {
        None if head.version == Version::HTTP_10 => Ok(()),
        Some(host) if is_authority(host.as_bytes()) => Ok(()),
        _ => Err(ErrorKind::BadRequest),
    }
}

fn origin_form(uri: &Uri) -> Result<Uri, ErrorKind> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::try_from(path.as_str()).map_err(|_| ErrorKind::BadRequest)
}

/// HTTP/2 may split `cookie`; HTTP/1.1 and filters get one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

/// `host [":" port]` (RFC 3986 section 3.2.2), without user information.
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !text.ends_with(b"]") => (text.get(..colon), text.get(colon + 1..)),
        _ => (Some(text), None),
    };
    let host_ok = host.is_some_and(|host| {
        let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
        match inner {
            Some(address) => std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
            None => !host.is_empty() && host.iter().all(|&byte| is_host_byte(byte)),
        }
    });
    let port_ok = port.is_none_or(|port| {
        std::str::from_utf8(port).is_ok_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            && std::str::from_utf8(port).is_ok_and(|text| text.is_empty() || text.parse::<u16>().is_ok())
    });
    host_ok && port_ok
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
}

/// What the `te` field said, for it is made anew.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Te {
    #[default]
    Absent,
    Trailers,
}

/// The fields of an accepted request that filters do not bring: they route and frame it.
pub(super) fn owned_by_host(headers: &HeaderMap) -> HeaderMap {
    let mut owned = HeaderMap::with_capacity(4);
    for name in [HOST, header::CONTENT_LENGTH, header::TE] {
        if let Some(value) = headers.get(&name) {
            owned.insert(name, value.clone());
        }
    }
    owned
}

/// Takes off what belongs to the connection, and `expect`, which is made anew. One pass over the names: most messages
/// have one such field or none.
fn strip_hop_by_hop(headers: &mut HeaderMap) -> (Te, Wishes) {
    let belongs = |name: &&HeaderName| is_hop_by_hop(name.as_str().as_bytes()) || **name == header::EXPECT;
    let mut gone: Vec<_> = headers.keys().filter(belongs).cloned().collect();
    if gone.is_empty() {
        return Default::default();
    }
    let told = (te(headers), Wishes::of_fields(headers, &gone));
    gone.extend(connection_options(headers));
    for name in gone {
        headers.remove(name);
    }
    told
}

fn te(headers: &HeaderMap) -> Te {
    let asks_trailers = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
    };
    if headers.get_all(header::TE).iter().any(asks_trailers) { Te::Trailers } else { Te::Absent }
}

/// The fields that `connection` names, except those that frame or route the message: a client must not have them taken.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let options = |value: &&HeaderValue| !matches!(value.as_bytes(), b"keep-alive" | b"close");
    let listed = headers.get_all(header::CONNECTION).iter().filter(options);
    let names = listed.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    names.filter(|name| *name != HOST && *name != header::CONTENT_LENGTH)
}

/// The right-most address of `x-forwarded-for` that is none of the trusted proxies', who vouch for what stands left of
/// them; where there is none, the last that is an address.
pub(super) fn client_address(headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let mut found = None;
    let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = address(hop.trim()) else { break };
        if !config::trusts(trusted, address) {
            return Some(address);
        }
        found = Some(address);
    }
    found
}

/// An address, perhaps with a port, as proxies write it.
fn address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    hop.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

fn forward(headers: &mut HeaderMap, forwarded: &Forwarded) {
    let host = headers.get(HOST).cloned();
    let scheme = HeaderValue::from_static(forwarded.scheme);
    match forwarded.policy {
        ForwardedHeaders::Replace => {
            headers.remove(header::FORWARDED);
            headers.insert(X_FORWARDED_FOR, forwarded.client.clone());
            headers.insert(X_FORWARDED_PROTO, scheme);
            if let Some(host) = host {
                headers.insert(X_FORWARDED_HOST, host);
            }
        }
        ForwardedHeaders::Append => {
            let chain = extended(headers, &forwarded.client);
            headers.insert(X_FORWARDED_FOR, chain);
            headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
            if let (Some(host), Entry::Vacant(vacant)) = (host, headers.entry(X_FORWARDED_HOST)) {
                vacant.insert(host);
            }
        }
    }
}

/// The client's `x-forwarded-for`, all its lines, with its own address behind.
fn extended(headers: &HeaderMap, client: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(client.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| client.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn authorities() {
        let valid = ["a", "a.example:80", "127.0.0.1:8080", "[::1]", "[::1]:443", "a_b.example", "a:"];
        let refused = ["", ":80", "a:b", "u@a", "a:99999", "a/b", "a,b", "[::1", "[zz]", "a b", "::1"];
        for text in valid {
            assert!(is_authority(text.as_bytes()), "{text} is valid");
        }
        for text in refused {
            assert!(!is_authority(text.as_bytes()), "{text} is refused");
        }
    }

    #[test]
    fn connection_fields_go_and_the_proxys_own_stay() {
        let mut headers = map(&[
            ("connection", "close, x-private, content-length"),
            ("x-private", "1"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("accept", "*/*"),
        ]);
        assert_eq!(strip_hop_by_hop(&mut headers).0, Te::Trailers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length"]);
    }

    #[test]
    fn forwarded_headers_of_an_untrusted_client_are_replaced() {
        let mut headers = map(&[("host", "a.example"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")]);
        let forwarded = Forwarded {
            policy: ForwardedHeaders::Replace,
            client: HeaderValue::from_static("10.0.0.1"),
            scheme: "http",
        };
        forward(&mut headers, &forwarded);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a.example");
    }

    #[test]
    fn forwarded_headers_of_a_trusted_proxy_are_extended() {
        let mut headers = map(&[("host", "b"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-host", "a.example")]);
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("7.7.7.7"));
        let forwarded = Forwarded {
            policy: ForwardedHeaders::Append,
            client: HeaderValue::from_static("10.0.0.1"),
            scheme: "http",
        };
        forward(&mut headers, &forwarded);
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 7.7.7.7, 10.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a.example");
    }
}
