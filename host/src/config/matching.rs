//! `match` of a route.
//!
//! **Invariant:** a host pattern is lower case and has no port; a path begins with `/`.

use http::{HeaderName, HeaderValue, Method};

use super::{
    HostMatch, RouteMatch,
    diagnostic::quoted,
    keys,
    raw::{Fault, Key, Value},
    value::reference,
};

/// `match`
pub(super) fn route_match(value: &Value<'_>, listeners: &[&str]) -> RouteMatch {
    let Some(table) = value.table(&keys::MATCH) else { return RouteMatch::default() };
    let (path, path_prefix) = (table.get("path"), table.get("path_prefix"));
    if path.is_some() && path_prefix.is_some() {
        table.report(Fault::new("`path` and `path_prefix` exclude each other").help("keep one of them"));
    }
    RouteMatch {
        listener: table.read("listener", |value| reference(value, "listener", listeners)).map(Into::into),
        hosts: table
            .get("host")
            .map(|value| many(&value, "a host pattern or a list of them", host))
            .unwrap_or_default(),
        path: path.and_then(|value| value.read(self::path)).map(Into::into),
        path_prefix: path_prefix.and_then(|value| value.read(self::path)).map(without_trailing_slash),
        methods: table.get("methods").map(|value| many(&value, "a list of methods", method)).unwrap_or_default(),
        headers: table.get("headers").map(|value| headers(&value)).unwrap_or_default(),
        query: table.get("query").map(|value| query(&value)).unwrap_or_default(),
    }
}

/// One or more; none at all would match everything, which is not what an empty list says.
fn many<'a, T>(value: &Value<'a>, what: &str, parse: fn(&Value<'a>) -> Result<T, Fault>) -> Vec<T> {
    let items = value.one_or_many(what);
    if items.is_empty() && value.inner().is_array() {
        value.report(Fault::new("an empty list matches nothing").help("leave the key out to match everything"));
    }
    items.iter().filter_map(|item| item.read(parse)).collect()
}

fn host(value: &Value<'_>) -> Result<HostMatch, Fault> {
    let text = value.text("a host such as `\"orders.example\"`")?;
    let host = text.to_ascii_lowercase();
    let fault = |help: &str| Err(Fault::new(format!("{} is not a host pattern", quoted(text))).help(help));
    if host == "*" {
        return fault("leave `host` out to match every host");
    }
    if is_ipv6(&host) {
        return Ok(HostMatch::Exact(host));
    }
    if host.contains(':') {
        return fault("write the host without scheme and port");
    }
    match host.strip_prefix('*') {
        Some(suffix) if suffix.strip_prefix('.').is_some_and(is_domain) => Ok(HostMatch::Suffix(suffix.into())),
        None if is_domain(&host) => Ok(HostMatch::Exact(host)),
        _ => fault("allowed: a host, or `*.` and a host, of ASCII letters, digits, `-`, `_` and `.`"),
    }
}

fn is_ipv6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_domain(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

fn path<'a>(value: &Value<'a>) -> Result<&'a str, Fault> {
    let text = value.text("a path such as `\"/v1\"`")?;
    if !text.starts_with('/') {
        return Err(Fault::new(format!("{} does not begin with `/`", quoted(text))));
    }
    if text.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
        let help = "write it as it is sent: percent-encoded, without query";
        return Err(Fault::new(format!("{} is not a path", quoted(text))).help(help));
    }
    Ok(text)
}

/// A prefix is whole segments: `/v1/` says the same as `/v1`.
fn without_trailing_slash(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/".into() } else { trimmed.into() }
}

fn method(value: &Value<'_>) -> Result<Method, Fault> {
    let text = value.text("a method such as `\"GET\"`")?;
    let upper = text.to_ascii_uppercase();
    if upper != text {
        let help = format!("methods are case-sensitive; did you mean {}?", quoted(&upper));
        return Err(Fault::new(format!("{} is not a method", quoted(text))).help(help));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| Fault::new(format!("{} is not a method", quoted(text))))
}

fn headers(value: &Value<'_>) -> Vec<(HeaderName, String)> {
    let header = |(key, value): (Key<'_>, Value<'_>)| {
        let name = header_name(&key).map_err(|fault| key.report(fault)).ok();
        let text = value.read(header_value);
        Some((name?, text?))
    };
    let entries = value.open().map(|table| table.entries()).unwrap_or_default();
    let headers: Vec<_> = entries.into_iter().filter_map(header).collect();
    for (n, (name, _)) in headers.iter().enumerate() {
        if headers.iter().take(n).any(|(earlier, _)| earlier == name) {
            value.report(Fault::new(format!("header `{name}` is listed twice")));
        }
    }
    headers
}

fn header_name(key: &Key<'_>) -> Result<HeaderName, Fault> {
    let name = HeaderName::from_bytes(key.name.as_bytes());
    let name = name.map_err(|_| Fault::new(format!("{} is not a header name", quoted(key.name))))?;
    if name == http::header::HOST {
        return Err(Fault::new("the header `host` is not matched here").help("write `match = { host = ... }`"));
    }
    Ok(name)
}

fn header_value(value: &Value<'_>) -> Result<String, Fault> {
    let text = value.text("a string")?;
    let valid = HeaderValue::from_str(text).is_ok() && text.trim() == text;
    let help = "allowed: printable text without spaces at its ends";
    // The value may be a credential: it is not shown.
    valid.then(|| text.to_owned()).ok_or_else(|| Fault::new("not a header value").help(help))
}

fn query(value: &Value<'_>) -> Vec<(String, String)> {
    let parameter = |(key, value): (Key<'_>, Value<'_>)| {
        let text = value.read(|value| value.text("a string"))?;
        Some((key.name.to_owned(), text.to_owned()))
    };
    let entries = value.open().map(|table| table.entries()).unwrap_or_default();
    entries.into_iter().filter_map(parameter).collect()
}
