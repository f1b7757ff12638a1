//! Whom a resolver asks, and how long.
//!
//! **Invariant:** `/etc/resolv.conf` is read once per building of a generation, and only where the configuration names no servers.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    system_conf::parse_resolv_conf,
};

use crate::config::Dns;

/// The name server where the system names none (resolv.conf(5)).
const LOCAL_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// What a resolver is made from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub dns: Dns,
    pub resolv_conf: Vec<u8>,
}

impl Settings {
    /// The settings of the configuration and, where it names no servers, of the system.
    pub(super) fn read(dns: &Dns) -> Self {
        let system = || std::fs::read("/etc/resolv.conf");
        let warn = |error: &std::io::Error| tracing::warn!(%error, "cannot read /etc/resolv.conf");
        let resolv_conf =
            if dns.servers.is_empty() { system().inspect_err(warn).unwrap_or_default() } else { Vec::new() };
        Self { dns: dns.clone(), resolv_conf }
    }
}

/// Two tries fit into the time of a question, which is two thirds of that of a look-up.
pub(super) fn options(timeout: Duration) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = timeout / 3;
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options
}

/// The servers and the search domains, and the number of dots that lets a name be tried as it stands first.
pub(super) fn servers(settings: &Settings) -> (ResolverConfig, usize) {
    let given = |servers: &[SocketAddr]| {
        ResolverConfig::from_parts(None, Vec::new(), servers.iter().copied().map(server).collect())
    };
    if !settings.dns.servers.is_empty() {
        return (given(&settings.dns.servers), 0);
    }
    match parse_resolv_conf(&settings.resolv_conf) {
        Ok((config, options)) => (config, options.ndots),
        Err(error) => {
            tracing::warn!(%error, server = %LOCAL_SERVER, "no name server in /etc/resolv.conf");
            (given(&[LOCAL_SERVER]), 1)
        }
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    NameServerConfig::new(address.ip(), true, connections.into())
}
