//! A range of IP addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
//!
//! **Invariant:** an IPv4 address is one however it is written: `::ffff:192.0.2.1` is `192.0.2.1`.

use std::net::IpAddr;

use serde::Deserialize;

/// A range of addresses, CIDR notation (RFC 4632, RFC 4291).
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Network {
    /// IPv6, with IPv4 as mapped.
    bits: u128,
    mask: u128,
}

impl Network {
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        (bits(address) ^ self.bits) & self.mask == 0
    }
}

/// Every address as one of IPv6; those of IPv4 are in `::ffff:0:0/96`.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = parse(&text).ok_or_else(|| {
            format!("invalid address range {text:?}: expected \"192.0.2.0/24\", \"2001:db8::/32\" or an address")
        })?;
        match network.bits & !network.mask {
            0 => Ok(network),
            _ => Err(format!("invalid address range {text:?}: bits are set behind the prefix")),
        }
    }
}

fn parse(text: &str) -> Option<Network> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let (width, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
    let length = length.map_or(Some(width), |length| number(length).filter(|length| *length <= width))?;
    let mask = u128::MAX.checked_shl(128 - before - length).unwrap_or(0);
    Some(Network { bits: bits(address), mask })
}

/// Digits only: `parse` would take a sign.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Result<Network, String> {
        Network::try_from(text.to_owned())
    }

    #[test]
    fn ranges_contain_their_addresses() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", ""),
            ("::/0", "192.0.2.1", ""),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", "::1", "127.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
        ] {
            let network = network(range).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(outside.is_empty() || !network.contains(outside.parse().unwrap()), "{range} {outside}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "a.example", "10.0.0.0/8/8", "[::1]"]
        {
            assert!(network(text).unwrap_err().contains("expected \"192.0.2.0/24\""), "{text}");
        }
        for text in ["10.0.0.1/8", "2001:db8::1/64", "::ffff:10.0.0.1/104"] {
            assert!(network(text).unwrap_err().ends_with("bits are set behind the prefix"), "{text}");
        }
    }
}
