//! Request and response heads at the border: one form inside, hop-by-hop fields off (RFC 9110 section 7.6.1),
//! `X-Forwarded-*` on. The path is `path.rs`, the authority `authority.rs`, field names `fields.rs`.
//!
//! **Invariant:** inside, a request has its authority in `host`, an origin-form target with a normal path, and no field
//! that belongs to a connection.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{self, Entry, HOST},
    request::Parts,
};
use meshup_abi::{ErrorKind, headers::is_hop_by_hop};

use super::{authority, fields, path, wishes::Wishes};
use crate::config::{self, ForwardedHeaders, Listener, ListenerLimits, Network, Underscores};

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

/// The size of an HTTP/2 head, as it would stand in HTTP/1; bytes.
pub(crate) fn size<B>(head: &Request<B>) -> usize {
    /// `: ` and CR LF.
    const AROUND_FIELD: usize = 4;
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + AROUND_FIELD;
    target_size(head.uri()) + head.headers().iter().map(field).sum::<usize>()
}

fn target_size(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// Holds an HTTP/2 head of so many `bytes` to the limits; HTTP/1 is held to them by its parser.
///
/// # Errors
/// [`ErrorKind::UriTooLong`] when the target alone is over the limit, [`ErrorKind::HeadersTooLarge`].
pub(crate) fn check_size(head: &Parts, bytes: usize, limits: &ListenerLimits) -> Result<(), ErrorKind> {
    if bytes <= limits.max_header_bytes {
        return Ok(());
    }
    let uri_alone = target_size(&head.uri) > limits.max_header_bytes;
    Err(if uri_alone { ErrorKind::UriTooLong } else { ErrorKind::HeadersTooLarge })
}

/// Why a request is refused for its head alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unacceptable {
    /// Its target or authority is missing, ambiguous or not valid, a field may not be there, or there are too many.
    Head(ErrorKind),
    /// It asks for a tunnel to anywhere.
    Connect,
    /// It expects something else than `100-continue`.
    Expectation,
}

/// Brings a client's request into the inner form; says what it asked of the connection.
///
/// # Errors
/// [`Unacceptable`]
pub(crate) fn accept(head: &mut Parts, forwarded: &Forwarded, listener: &Listener) -> Result<Wishes, Unacceptable> {
    if head.method == Method::CONNECT {
        return Err(Unacceptable::Connect);
    }
    let host = authority::move_to_host(head).map_err(Unacceptable::Head)?;
    let (te, wishes) = clean(head, forwarded, listener).map_err(Unacceptable::Head)?;
    if te == Te::Trailers {
        head.headers.insert(header::TE, TRAILERS);
    }
    forward(&mut head.headers, forwarded, host);
    if let Some(via) = &listener.via {
        head.headers.append(header::VIA, via.of(head.version).clone());
    }
    wishes.of(head.version)
}

fn clean(head: &mut Parts, forwarded: &Forwarded, listener: &Listener) -> Result<(Te, Wishes), ErrorKind> {
    path::normalize(&mut head.uri, (&head.method, head.version), listener.path_normalization).map_err(|reason| {
        tracing::debug!(%reason, "target refused");
        ErrorKind::BadRequest
    })?;
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
        // The parser of HTTP/1 counts by itself.
        if head.headers.len() > listener.limits.max_headers {
            return Err(ErrorKind::HeadersTooLarge);
        }
        trim(&mut head.headers);
        // Its frames bound the body, so that nobody looked at all of this: HTTP/1.1 goes by it.
        if !is_framed_once(&head.headers) {
            return Err(ErrorKind::BadRequest);
        }
    }
    strip_request(&mut head.headers, forwarded.policy, listener.underscores)
}

/// Takes the fields of the upstream's connection off its response.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    let hop_by_hop = headers.keys().filter(|name| is_hop_by_hop(name.as_str().as_bytes()));
    let gone = hop_by_hop.cloned().collect();
    strip(headers, gone);
}

/// At most one length, which is a number, or chunks and nothing else: of anything more, two readers might think differently
/// where the body ends (RFC 9112 section 6.3).
pub(crate) fn is_framed_once(headers: &HeaderMap) -> bool {
    let (mut lengths, mut codings) = (0, 0);
    for (name, value) in headers {
        let value = value.as_bytes();
        let sound = if *name == header::CONTENT_LENGTH {
            lengths += 1;
            !value.is_empty() && value.iter().all(u8::is_ascii_digit)
        } else if *name == header::TRANSFER_ENCODING {
            codings += 1;
            value.eq_ignore_ascii_case(b"chunked")
        } else {
            true
        };
        if !sound {
            return false;
        }
    }
    lengths + codings <= 1
}

/// Takes off the spaces around values that only HTTP/2 could carry (RFC 9113 section 8.2.1): HTTP/1 would not.
fn trim(headers: &mut HeaderMap) {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for value in headers.values_mut() {
        let bytes = value.as_bytes();
        if is_space(bytes.first()) || is_space(bytes.last()) {
            let trimmed = HeaderValue::from_bytes(bytes.trim_ascii());
            trimmed.into_iter().for_each(|trimmed| *value = trimmed);
        }
    }
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

/// Takes off what belongs to the client's connection, what a client may not say, and `expect`, which is made anew. One pass over the names: most
/// messages have one such field or none.
fn strip_request(
    headers: &mut HeaderMap,
    policy: ForwardedHeaders,
    underscores: Underscores,
) -> Result<(Te, Wishes), ErrorKind> {
    let mut gone = Vec::new();
    for name in headers.keys() {
        let bytes = name.as_str().as_bytes();
        // `proxy` would become the proxy that a CGI program asks (CVE-2016-5385).
        let refused = is_hop_by_hop(bytes)
            || *name == header::EXPECT
            || bytes == b"proxy"
            || (policy == ForwardedHeaders::Replace && fields::is_forged(bytes));
        if refused {
            gone.push(name.clone());
        } else if fields::has_underscore(bytes) {
            match underscores {
                Underscores::Drop => gone.push(name.clone()),
                Underscores::Reject => return Err(ErrorKind::BadRequest),
                Underscores::Allow => {}
            }
        }
    }
    Ok(strip(headers, gone))
}

/// Takes off the named fields and what `connection` lists.
fn strip(headers: &mut HeaderMap, mut gone: Vec<HeaderName>) -> (Te, Wishes) {
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

/// The fields that `connection` names, except those that nobody may have taken off.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let options = |value: &&HeaderValue| !matches!(value.as_bytes(), b"keep-alive" | b"close");
    let listed = headers.get_all(header::CONNECTION).iter().filter(options);
    let names = listed.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    names.filter(|name| !fields::outlives_the_connection(name.as_str().as_bytes()))
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

fn forward(headers: &mut HeaderMap, forwarded: &Forwarded, host: Option<HeaderValue>) {
    let scheme = HeaderValue::from_static(forwarded.scheme);
    match forwarded.policy {
        ForwardedHeaders::Replace => {
            headers.insert(X_FORWARDED_FOR, forwarded.client.clone());
            headers.insert(X_FORWARDED_PROTO, scheme);
            match host {
                Some(host) => headers.insert(X_FORWARDED_HOST, host),
                None => headers.remove(X_FORWARDED_HOST),
            };
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
    fn connection_fields_go_and_the_proxys_own_stay() {
        let mut headers = map(&[
            ("connection", "close, x-private, content-length"),
            ("x-private", "1"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("accept", "*/*"),
        ]);
        let stripped = strip_request(&mut headers, ForwardedHeaders::Replace, Underscores::Drop);
        assert_eq!(stripped.map(|(te, _)| te), Ok(Te::Trailers));
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
        let host = headers.get(HOST).cloned();
        forward(&mut headers, &forwarded, host);
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
        let host = headers.get(HOST).cloned();
        forward(&mut headers, &forwarded, host);
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 7.7.7.7, 10.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a.example");
    }
}
