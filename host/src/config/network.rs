//! Networks in the notation of RFC 4632: `10.0.0.0/8`, `2001:db8::/32`, or one address.
//!
//! **Invariant:** a network's address has no bit behind its prefix.

use std::{fmt, net::IpAddr};

use super::raw::{Fault, Value};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address is never in an IPv6 network, nor the other way round.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == bits(self.address)
    }

    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = |prefix: &&str| prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.map_or(Some(most), |prefix| Some(prefix).filter(digits)?.parse().ok())?;
        let network = Self { address, prefix };
        (prefix <= most && masked(address, prefix) == bits(address)).then_some(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Whether some network of a list has `address`.
pub(crate) fn trusts(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The address as the upper bits of a number.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, prefix: u32) -> u128 {
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    bits(address) & mask
}

/// A network of the configuration.
pub(super) fn network(value: &Value<'_>) -> Result<Network, Fault> {
    let text = value.text("a network such as `\"10.0.0.0/8\"`")?;
    let help = "an address, or a network without bits behind its prefix, for example `\"10.0.0.0/8\"`";
    Network::parse(text).ok_or_else(|| Fault::new(format!("`{}` is not a network", text.escape_debug())).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_what_is_in_them() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let network = Network::parse(network).expect("a network");
            assert_eq!(network.contains(address.parse().expect("an address")), expected, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "a/8", "::/129"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
