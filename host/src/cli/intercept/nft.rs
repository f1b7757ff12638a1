//! The rules as nftables takes them: one table of our own, for IPv4 and IPv6.
//!
//! **Invariant:** a script is one transaction: all of it holds afterwards, or nothing changed.

use std::fmt::{self, Write};

use super::{Interception, tool};

/// The first line makes the table where it is missing, so that the second never fails.
pub(super) const REMOVAL: &str = "table inet meshup\ndelete table inet meshup\n";

pub(super) fn install(interception: &Interception) -> anyhow::Result<()> {
    tool::run("nft", &["-f", "-"], &rules(interception)).map(drop)
}

pub(super) fn remove() -> anyhow::Result<()> {
    tool::run("nft", &["-f", "-"], REMOVAL).map(drop)
}

/// What is installed, or nothing.
pub(super) fn installed() -> anyhow::Result<String> {
    if !tool::run("nft", &["list", "tables", "inet"], "")?.lines().any(|line| line == "table inet meshup") {
        return Ok(String::new());
    }
    tool::run("nft", &["list", "table", "inet", "meshup"], "")
}

/// The script that replaces whatever was installed.
pub(super) fn rules(interception: &Interception) -> String {
    let mut script = String::from(REMOVAL);
    // Writing to a string cannot fail.
    _ = write(&mut script, interception);
    script
}

fn write(script: &mut String, interception: &Interception) -> fmt::Result {
    script.push_str("table inet meshup {\n");
    outbound(script, interception)?;
    if let Some(port) = interception.inbound {
        script.push_str("    chain inbound {\n        type nat hook prerouting priority dstnat; policy accept;\n");
        script.push_str("        iifname \"lo\" return\n");
        for port in &interception.excluded_inbound_ports {
            writeln!(script, "        tcp dport {port} return")?;
        }
        writeln!(script, "        meta l4proto tcp redirect to :{port}\n    }}")?;
    }
    script.push_str("}\n");
    Ok(())
}

fn outbound(script: &mut String, interception: &Interception) -> fmt::Result {
    // -100 is `dstnat`, a name that nft knows for the other hook only.
    script.push_str("    chain outbound {\n        type nat hook output priority -100; policy accept;\n");
    writeln!(script, "        meta skuid {} return", interception.proxy_uid)?;
    script.push_str("        oifname \"lo\" return\n");
    for port in &interception.excluded_ports {
        writeln!(script, "        tcp dport {port} return")?;
    }
    for range in &interception.excluded_destinations {
        let family = if range.is_ipv4() { "ip" } else { "ip6" };
        writeln!(script, "        {family} daddr {range} return")?;
    }
    writeln!(script, "        meta l4proto tcp redirect to :{}\n    }}", interception.outbound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_as_they_are_handed_over() {
        let expected = r#"table inet meshup
delete table inet meshup
table inet meshup {
    chain outbound {
        type nat hook output priority -100; policy accept;
        meta skuid 65532 return
        oifname "lo" return
        tcp dport 22 return
        tcp dport 443 return
        ip daddr 10.0.0.0/8 return
        ip6 daddr fd00::/8 return
        meta l4proto tcp redirect to :15001
    }
    chain inbound {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "lo" return
        tcp dport 9901 return
        meta l4proto tcp redirect to :15006
    }
}
"#;
        assert_eq!(rules(&super::super::example()), expected);
    }
}
