//! An item of `endpoints`: an address, or a name that stands for some.
//!
//! **Invariant:** what [`Endpoint`] writes reads back as the same endpoint; names are in lower case.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    Endpoint,
    diagnostic::quoted,
    raw::{Fault, Value},
    value::not_an_address,
};

const SERVICE: &str = "srv:";
const EXAMPLE: &str = "`\"127.0.0.1:9000\"`";

impl Endpoint {
    /// The name that the peer goes by, where a name is configured: the host, or the domain that offers the service.
    #[must_use]
    pub fn peer_name(&self) -> Option<Arc<str>> {
        match self {
            Self::Address(_) => None,
            Self::Host { name, .. } => Some(name.trim_end_matches('.').into()),
            Self::Service(name) => Some(domain(name).trim_end_matches('.').into()),
        }
    }
}

/// A service's name without `_service._protocol.`.
fn domain(mut name: &str) -> &str {
    while let Some((label, rest)) = name.split_once('.')
        && label.starts_with('_')
    {
        name = rest;
    }
    name
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Service(name) => write!(f, "{SERVICE}{name}"),
        }
    }
}

/// `IP:port`, `name:port` or `srv:name`.
pub(super) fn endpoint(value: &Value<'_>) -> Result<Endpoint, Fault> {
    let text = value.text("an address such as `\"127.0.0.1:9000\"`")?;
    if let Some(name) = text.strip_prefix(SERVICE) {
        return service(text, name);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => with_port(text, address.port()).map(|_| Endpoint::Address(address)),
        Err(_) => host(text),
    }
}

/// `IP:port` to connect to.
pub(super) fn address(value: &Value<'_>) -> Result<SocketAddr, Fault> {
    let text = value.text("an address such as `\"10.0.0.53:53\"`")?;
    let address: SocketAddr = text.parse().map_err(|_| not_an_address(text, "`\"10.0.0.53:53\"`"))?;
    with_port(text, address.port()).map(|_| address)
}

fn host(text: &str) -> Result<Endpoint, Fault> {
    if text.contains("://") {
        return Err(not_an_address(text, EXAMPLE).help("write IP:port or name:port, without a scheme"));
    }
    let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| is_host(name)) else {
        return Err(if is_host(text) { without_port(text) } else { not_an_address(text, EXAMPLE) });
    };
    let not_a_port = || Fault::new(format!("{} has no valid port", quoted(text))).help("allowed: ports 1 to 65535");
    let port = with_port(text, port.parse().map_err(|_| not_a_port())?)?;
    Ok(Endpoint::Host { name: name.to_ascii_lowercase().into(), port })
}

fn without_port(text: &str) -> Fault {
    let help = "the port is missing; write name:port, for example `\"orders.internal:9000\"`";
    Fault::new(format!("{} is not an address", quoted(text))).help(help)
}

fn service(text: &str, name: &str) -> Result<Endpoint, Fault> {
    let help = "the port comes with the SRV record; write for example `\"srv:_http._tcp.orders.internal\"`";
    let not_a_name = || Fault::new(format!("{} is not a service name", quoted(text))).help(help);
    is_host(name).then(|| Endpoint::Service(name.to_ascii_lowercase().into())).ok_or_else(not_a_name)
}

fn with_port(text: &str, port: u16) -> Result<u16, Fault> {
    let is_zero = || Fault::new(format!("{} has port 0", quoted(text))).help("allowed: ports 1 to 65535");
    (port != 0).then_some(port).ok_or_else(is_zero)
}

/// A host name (RFC 1123 section 2.1, and `_`), also with the dot of the root; not an IP address or the slip of one.
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    (1..=253).contains(&name.len())
        && name.parse::<IpAddr>().is_err()
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_some_and(is_number)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in
            ["orders", "orders.internal", "orders.internal.", "a-b.c_d", "3com.example", "xn--bcher-kva.example"]
        {
            assert!(is_host(good), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in
            ["", ".", "a..b", ".a", "-a", "a-", "a b", "bücher", "10.0.0.1", "1.2.3", "999.1.1.1", "::1", "a:b", &long]
        {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn a_service_is_offered_by_its_domain() {
        for (name, peer) in [("_http._tcp.orders.internal", "orders.internal"), ("orders.consul.", "orders.consul")] {
            assert_eq!(Endpoint::Service(name.into()).peer_name().as_deref(), Some(peer));
        }
    }
}
