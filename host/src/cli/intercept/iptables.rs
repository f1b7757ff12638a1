//! The rules as iptables takes them: chains of our own in the table `nat`, once for IPv4 and once for IPv6.
//!
//! **Invariant:** what is removed is what the listing shows, so nothing is left over and nothing else is touched.

use std::{
    fmt::{self, Write},
    path::Path,
};

use super::{Interception, tool};

const OUTBOUND: &str = "MESHUP_OUTBOUND";
const INBOUND: &str = "MESHUP_INBOUND";

/// One version of the Internet protocol, and the programs for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Those that the kernel speaks.
    fn all() -> &'static [Self] {
        if Path::new("/proc/sys/net/ipv6").exists() { &[Self::Ipv4, Self::Ipv6] } else { &[Self::Ipv4] }
    }

    fn list(self) -> &'static str {
        match self {
            Self::Ipv4 => "iptables",
            Self::Ipv6 => "ip6tables",
        }
    }

    fn restore(self) -> &'static str {
        match self {
            Self::Ipv4 => "iptables-restore",
            Self::Ipv6 => "ip6tables-restore",
        }
    }

    /// All rules of the table `nat`.
    fn listing(self) -> anyhow::Result<String> {
        tool::run(self.list(), &["-w", "5", "-t", "nat", "-S"], "")
    }

    fn apply(self, script: &str) -> anyhow::Result<()> {
        tool::run(self.restore(), &["-w", "5", "--noflush"], script).map(drop)
    }
}

pub(super) fn install(interception: &Interception) -> anyhow::Result<()> {
    remove()?;
    Family::all().iter().try_for_each(|family| family.apply(&rules(interception, *family)))
}

pub(super) fn remove() -> anyhow::Result<()> {
    for family in Family::all() {
        if let Some(script) = removal(&family.listing()?) {
            family.apply(&script)?;
        }
    }
    Ok(())
}

/// What is installed, or nothing.
pub(super) fn installed() -> anyhow::Result<String> {
    let mut found = String::new();
    for family in Family::all() {
        let listing = family.listing()?;
        let rules: Vec<&str> = listing.lines().filter(|line| is_ours(line)).collect();
        if !rules.is_empty() {
            found += &format!("# {}\n{}\n", family.list(), rules.join("\n"));
        }
    }
    Ok(found)
}

/// The scripts for both families, each under the name of the program that takes it.
pub(super) fn scripts(interception: &Interception) -> String {
    let script = |family: &Family| format!("# {} --noflush\n{}", family.restore(), rules(interception, *family));
    Family::all().iter().map(script).collect()
}

/// The scripts that remove what is installed.
pub(super) fn removals() -> anyhow::Result<String> {
    let mut scripts = String::new();
    for family in Family::all() {
        if let Some(script) = removal(&family.listing()?) {
            scripts += &format!("# {} --noflush\n{script}", family.restore());
        }
    }
    Ok(scripts)
}

fn is_ours(line: &str) -> bool {
    line.split_ascii_whitespace().any(|word| word == OUTBOUND || word == INBOUND)
}

/// The script that takes our part out of a listing, if there is any: first the jumps, then the chains.
fn removal(listing: &str) -> Option<String> {
    let ours = || listing.lines().filter(|line| is_ours(line));
    let own_rule = |line: &str| [OUTBOUND, INBOUND].iter().any(|chain| line.starts_with(&format!("-A {chain} ")));
    let jumps = ours().filter(|line| !own_rule(line)).filter_map(|line| line.strip_prefix("-A "));
    let jumps: String = jumps.map(|rule| format!("-D {rule}\n")).collect();
    let chains: Vec<&str> = ours().filter_map(|line| line.strip_prefix("-N ")).collect();
    let emptied: String = chains.iter().map(|chain| format!("-F {chain}\n")).collect();
    let removed: String = chains.iter().map(|chain| format!("-X {chain}\n")).collect();
    let script = [jumps, emptied, removed].concat();
    (!script.is_empty()).then(|| format!("*nat\n{script}COMMIT\n"))
}

fn rules(interception: &Interception, family: Family) -> String {
    let mut script = format!("*nat\n:{OUTBOUND} - [0:0]\n");
    // Writing to a string cannot fail.
    _ = outbound(&mut script, interception, family);
    if let Some(port) = interception.inbound {
        _ = inbound(&mut script, interception, port.get());
    }
    script.push_str("COMMIT\n");
    script
}

fn outbound(script: &mut String, interception: &Interception, family: Family) -> fmt::Result {
    writeln!(script, "-A {OUTBOUND} -m owner --uid-owner {} -j RETURN", interception.proxy_uid)?;
    writeln!(script, "-A {OUTBOUND} -o lo -j RETURN")?;
    for port in &interception.excluded_ports {
        writeln!(script, "-A {OUTBOUND} -p tcp --dport {port} -j RETURN")?;
    }
    let of_family = |range: &&super::Cidr| range.is_ipv4() == (family == Family::Ipv4);
    for range in interception.excluded_destinations.iter().filter(of_family) {
        writeln!(script, "-A {OUTBOUND} -d {range} -j RETURN")?;
    }
    writeln!(script, "-A {OUTBOUND} -p tcp -j REDIRECT --to-ports {}", interception.outbound)?;
    writeln!(script, "-A OUTPUT -p tcp -j {OUTBOUND}")
}

fn inbound(script: &mut String, interception: &Interception, port: u16) -> fmt::Result {
    writeln!(script, ":{INBOUND} - [0:0]\n-A {INBOUND} -i lo -j RETURN")?;
    for port in &interception.excluded_inbound_ports {
        writeln!(script, "-A {INBOUND} -p tcp --dport {port} -j RETURN")?;
    }
    writeln!(script, "-A {INBOUND} -p tcp -j REDIRECT --to-ports {port}\n-A PREROUTING -p tcp -j {INBOUND}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_as_they_are_handed_over() {
        let expected = "*nat
:MESHUP_OUTBOUND - [0:0]
-A MESHUP_OUTBOUND -m owner --uid-owner 65532 -j RETURN
-A MESHUP_OUTBOUND -o lo -j RETURN
-A MESHUP_OUTBOUND -p tcp --dport 22 -j RETURN
-A MESHUP_OUTBOUND -p tcp --dport 443 -j RETURN
-A MESHUP_OUTBOUND -d fd00::/8 -j RETURN
-A MESHUP_OUTBOUND -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -p tcp -j MESHUP_OUTBOUND
:MESHUP_INBOUND - [0:0]
-A MESHUP_INBOUND -i lo -j RETURN
-A MESHUP_INBOUND -p tcp --dport 9901 -j RETURN
-A MESHUP_INBOUND -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j MESHUP_INBOUND
COMMIT
";
        assert_eq!(rules(&super::super::example(), Family::Ipv6), expected);
    }

    #[test]
    fn a_removal_takes_out_what_is_ours_and_nothing_else() {
        let listing = "-P OUTPUT ACCEPT
-N KUBE_SERVICES
-N MESHUP_OUTBOUND
-A OUTPUT -j KUBE_SERVICES
-A OUTPUT -p tcp -j MESHUP_OUTBOUND
-A OUTPUT -p tcp -j MESHUP_OUTBOUND
-A MESHUP_OUTBOUND -o lo -j RETURN
";
        let expected = "*nat
-D OUTPUT -p tcp -j MESHUP_OUTBOUND
-D OUTPUT -p tcp -j MESHUP_OUTBOUND
-F MESHUP_OUTBOUND
-X MESHUP_OUTBOUND
COMMIT
";
        assert_eq!(removal(listing).as_deref(), Some(expected));
        assert_eq!(removal("-P OUTPUT ACCEPT\n-A OUTPUT -j KUBE_SERVICES\n"), None);
    }
}
