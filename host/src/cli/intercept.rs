//! `meshup intercept`: the packet filter's rules that redirect connections to transparent listeners.
//!
//! It writes the rules for nftables, or for iptables where nftables' `nft` is missing, and has that program put them in
//! place. What a redirected connection meets is the matter of listeners.
//!
//! **Invariant:** nothing outside the table, or the chains, named after meshup is changed, but for the jumps to them.

use std::{collections::BTreeSet, num::NonZeroU16, process::ExitCode};

use anyhow::{Context, bail};

use self::{cidr::Cidr, tool::Tool};
use super::{InstallInterception, InterceptCommand, RemoveInterception, output};

pub(super) mod cidr;
mod iptables;
mod nft;
pub(super) mod tool;

/// What is redirected, and what is not.
#[derive(Debug, Clone)]
struct Interception {
    outbound: NonZeroU16,
    inbound: Option<NonZeroU16>,
    proxy_uid: u32,
    excluded_ports: BTreeSet<u16>,
    excluded_inbound_ports: BTreeSet<u16>,
    excluded_destinations: BTreeSet<Cidr>,
}

impl From<&InstallInterception> for Interception {
    fn from(args: &InstallInterception) -> Self {
        Self {
            outbound: args.outbound_port,
            inbound: args.inbound_port,
            proxy_uid: args.proxy_uid,
            excluded_ports: args.exclude_port.iter().copied().collect(),
            excluded_inbound_ports: args.exclude_inbound_port.iter().copied().collect(),
            excluded_destinations: args.exclude_cidr.iter().copied().collect(),
        }
    }
}

pub(super) fn run(command: &InterceptCommand) -> anyhow::Result<ExitCode> {
    match command {
        InterceptCommand::Install(args) => install(args).map(|()| ExitCode::SUCCESS),
        InterceptCommand::Remove(args) => remove(args).map(|()| ExitCode::SUCCESS),
        InterceptCommand::Show => show(),
    }
}

fn install(args: &InstallInterception) -> anyhow::Result<()> {
    let interception = Interception::from(args);
    let available = Tool::available();
    let wanted = args.tool.or(available.first().copied());
    if args.dry_run {
        return output::print(script(wanted.unwrap_or(Tool::Nft), &interception));
    }
    let tool = require(wanted.filter(|tool| available.contains(tool)))?;
    for other in available {
        if other != tool {
            remove_with(other).with_context(|| format!("cannot remove the rules that {other} holds"))?;
        }
    }
    match tool {
        Tool::Nft => nft::install(&interception),
        Tool::Iptables => iptables::install(&interception),
    }
}

fn script(tool: Tool, interception: &Interception) -> String {
    match tool {
        Tool::Nft => nft::rules(interception),
        Tool::Iptables => iptables::scripts(interception),
    }
}

fn remove(args: &RemoveInterception) -> anyhow::Result<()> {
    let available = Tool::available();
    require(available.first().copied())?;
    for tool in available {
        if args.dry_run {
            output::print(removal(tool)?)?;
        } else {
            remove_with(tool)?;
        }
    }
    Ok(())
}

fn removal(tool: Tool) -> anyhow::Result<String> {
    match tool {
        Tool::Nft => Ok(nft::REMOVAL.to_owned()),
        Tool::Iptables => iptables::removals(),
    }
}

fn remove_with(tool: Tool) -> anyhow::Result<()> {
    match tool {
        Tool::Nft => nft::remove(),
        Tool::Iptables => iptables::remove(),
    }
}

/// What is installed; failure when that is nothing.
fn show() -> anyhow::Result<ExitCode> {
    let available = Tool::available();
    require(available.first().copied())?;
    let mut installed = String::new();
    for tool in available {
        installed += &match tool {
            Tool::Nft => nft::installed()?,
            Tool::Iptables => iptables::installed()?,
        };
    }
    if installed.is_empty() {
        eprintln!("no interception is installed");
        return Ok(ExitCode::FAILURE);
    }
    output::print(installed).map(|()| ExitCode::SUCCESS)
}

fn require(tool: Option<Tool>) -> anyhow::Result<Tool> {
    let Some(tool) = tool else {
        bail!(
            "the packet filter's program is missing: install nftables (`nft`), or iptables (`iptables` and `ip6tables`): \
             apt-get install nftables, apk add nftables, dnf install nftables"
        );
    };
    Ok(tool)
}

#[cfg(test)]
fn example() -> Interception {
    Interception {
        outbound: NonZeroU16::new(15001).unwrap(),
        inbound: NonZeroU16::new(15006),
        proxy_uid: 65532,
        excluded_ports: [22, 443].into(),
        excluded_inbound_ports: [9901].into(),
        excluded_destinations: ["10.0.0.0/8", "fd00::/8"].map(|cidr| cidr.parse().unwrap()).into(),
    }
}
