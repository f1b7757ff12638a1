//! One look-up of a name: the system's `hosts` file, then its name servers or those configured.
//!
//! A name may be completed by the system's search domains; the first completion that has addresses counts. Nothing is
//! cached here.
//!
//! A question that nobody answers fails alone, in time for the others' answers to count.
//!
//! **Invariant:** a server that is silent or fails never makes a name mean something else: only an answer that there is no
//! such name or address leads to the next completion.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    Hosts, TokioResolver,
    lookup::Lookup,
    net::runtime::TokioRuntimeProvider,
    proto::{
        op::Query,
        rr::{Name, RData, RecordType, domain::usage::LOCALHOST, rdata::SRV},
    },
};
use tokio::task::JoinSet;

use super::{
    Failure, Found,
    settings::{Settings, options, servers},
};
use crate::config::{Endpoint, Families};

/// How soon the `hosts` file is read again for a name that it has.
const HOSTS_FILE_TTL: Duration = Duration::from_secs(10);
/// How soon one asks again when a part of the answer is missing.
const INCOMPLETE_TTL: Duration = Duration::from_secs(30);
/// For how long one family is waited for when the other has addresses: some servers never answer AAAA questions.
const OTHER_FAMILY: Duration = Duration::from_secs(1);
/// Targets of SRV records that are looked up; the others are passed over.
const MAX_TARGETS: usize = 64;
/// Into how many turns the heaviest of a service's targets is divided.
const MAX_TURNS: u32 = 16;

/// Asks name servers.
pub(super) struct Resolver {
    settings: Settings,
    client: Option<TokioResolver>,
    search: Vec<Name>,
    ndots: usize,
}

/// The addresses that a look-up found, and for how long they hold.
#[derive(Debug)]
pub(super) struct Answer {
    pub addresses: Vec<Found>,
    pub ttl: Duration,
}

/// The addresses of a host by family, or why there are none.
struct Host {
    name: Name,
    ipv4: Result<Addresses, Failure>,
    ipv6: Result<Addresses, Failure>,
}

#[derive(Debug)]
struct Addresses {
    ips: Vec<IpAddr>,
    ttl: Duration,
}

/// The last good answer to every question that a name leads to: it stands in where one of them fails.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<(Name, RecordType), Vec<IpAddr>>);

impl Resolver {
    pub(super) fn new(settings: Settings) -> Self {
        let (config, ndots) = servers(&settings);
        let search = config.search().to_vec();
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options(settings.dns.timeout);
        let client = builder.build().inspect_err(|error| tracing::error!(%error, "names cannot be looked up")).ok();
        Self { settings, client, search, ndots }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Looks a name up, within the configured time.
    pub(super) async fn look_up(self: &Arc<Self>, name: &Endpoint, memory: &mut Memory) -> Result<Answer, Failure> {
        let look_up = async {
            match name {
                Endpoint::Address(address) => Ok(fixed(*address)),
                Endpoint::Host { name, .. } => self.host(name, memory).await,
                Endpoint::Service(name) => self.service(name, memory).await,
            }
        };
        tokio::time::timeout(self.settings.dns.timeout, look_up).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn host(&self, name: &str, memory: &mut Memory) -> Result<Answer, Failure> {
        let name = parse(name)?;
        if let Some(host) = in_hosts_file(&name) {
            return Ok(self.answer(vec![(host, None, 1)], memory));
        }
        let mut failure = Failure::NoName;
        for candidate in self.candidates(&name) {
            let host = self.addresses(candidate).await;
            match host.failure() {
                None => return Ok(self.answer(vec![(host, None, 1)], memory)),
                Some(negative) if negative.is_negative() => failure = negative,
                Some(other) => return Err(other),
            }
        }
        Err(failure)
    }

    async fn service(self: &Arc<Self>, name: &str, memory: &mut Memory) -> Result<Answer, Failure> {
        let (mut targets, ttl) = self.targets(&parse(name)?).await?;
        targets.truncate(MAX_TARGETS);
        let heaviest = targets.iter().map(|target| target.weight).max().unwrap_or_default();
        let mut lookups = JoinSet::new();
        for target in targets {
            let resolver = self.clone();
            lookups.spawn(async move {
                let host = match in_hosts_file(&target.target) {
                    Some(host) => host,
                    None => resolver.addresses(target.target.clone()).await,
                };
                (host, Some(target.port), turns(target.weight, heaviest))
            });
        }
        let mut hosts = Vec::new();
        while let Some(host) = lookups.join_next().await {
            hosts.extend(host.ok());
        }
        let failures: Vec<Failure> = hosts.iter().filter_map(|(host, ..)| host.failure()).collect();
        if failures.len() == hosts.len() {
            return Err(failures.into_iter().next().unwrap_or(Failure::Empty));
        }
        let answer = self.answer(hosts, memory);
        Ok(Answer { ttl: answer.ttl.min(ttl), ..answer })
    }

    /// The SRV records of the lowest priority.
    async fn targets(&self, name: &Name) -> Result<(Vec<SRV>, Duration), Failure> {
        let mut failure = Failure::NoName;
        for candidate in self.candidates(name) {
            match self.ask(candidate, RecordType::SRV).await {
                Ok(lookup) => return preferred_targets(&lookup),
                Err(negative) if negative.is_negative() => failure = negative,
                Err(other) => return Err(other),
            }
        }
        Err(failure)
    }

    /// What hosts have together; what one did not answer is taken from memory.
    fn answer(&self, hosts: Vec<(Host, Option<u16>, u16)>, memory: &mut Memory) -> Answer {
        memory.0.retain(|(name, _), _| hosts.iter().any(|(host, ..)| host.name == *name));
        let mut answer = Answer { addresses: Vec::new(), ttl: Duration::MAX };
        for (host, port, turns) in hosts {
            let ipv4 = memory.complete(&host.name, RecordType::A, host.ipv4, &mut answer.ttl);
            let ipv6 = memory.complete(&host.name, RecordType::AAAA, host.ipv6, &mut answer.ttl);
            let ips = match self.settings.dns.prefer {
                Families::Both => [ipv4, ipv6].concat(),
                Families::Ipv4 if ipv4.is_empty() => ipv6,
                Families::Ipv6 if !ipv6.is_empty() => ipv6,
                Families::Ipv4 | Families::Ipv6 => ipv4,
            };
            answer.addresses.extend(ips.into_iter().map(|ip| Found { ip, port, turns }));
        }
        answer
    }

    async fn addresses(&self, name: Name) -> Host {
        let ask = async |kind| self.ask(name.clone(), kind).await.map(|lookup| Addresses::of(&lookup));
        let (ipv4, ipv6) = both(ask(RecordType::A), ask(RecordType::AAAA)).await;
        Host { ipv4, ipv6, name }
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Lookup, Failure> {
        let Some(client) = &self.client else { return Err(Failure::Other("there is no resolver".into())) };
        let answer = tokio::time::timeout(self.settings.dns.timeout / 3 * 2, client.lookup(name, kind));
        Ok(answer.await.map_err(|_| Failure::Timeout)??)
    }

    /// The names that a name may stand for, in the order in which they are tried (resolv.conf(5), `ndots`).
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() || LOCALHOST.zone_of(&whole) {
            return vec![whole];
        }
        let completed = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut names: Vec<Name> = completed.collect();
        let at = if usize::from(name.num_labels()) > self.ndots { 0 } else { names.len() };
        names.insert(at, whole);
        names
    }
}

/// The answers about both families.
async fn both(
    ipv4: impl Future<Output = Result<Addresses, Failure>>,
    ipv6: impl Future<Output = Result<Addresses, Failure>>,
) -> (Result<Addresses, Failure>, Result<Addresses, Failure>) {
    let (mut ipv4, mut ipv6) = (pin!(ipv4), pin!(ipv6));
    tokio::select! {
        first = &mut ipv4 => {
            let second = after(&first, ipv6).await;
            (first, second)
        }
        first = &mut ipv6 => (after(&first, ipv4).await, first),
    }
}

/// The answer about the second family, which is waited for only a while where the `first` has addresses.
async fn after(
    first: &Result<Addresses, Failure>,
    second: impl Future<Output = Result<Addresses, Failure>>,
) -> Result<Addresses, Failure> {
    match first {
        Ok(_) => tokio::time::timeout(OTHER_FAMILY, second).await.unwrap_or(Err(Failure::Timeout)),
        Err(_) => second.await,
    }
}

impl Host {
    /// Why it has no address at all. That one family says there is no such name outweighs a failure of the other.
    fn failure(&self) -> Option<Failure> {
        let (Err(ipv4), Err(ipv6)) = (&self.ipv4, &self.ipv6) else { return None };
        let [first, second] = if *ipv6 == Failure::NoName { [ipv6, ipv4] } else { [ipv4, ipv6] };
        Some(if *first == Failure::Empty { second } else { first }.clone())
    }
}

impl Addresses {
    fn of(lookup: &Lookup) -> Self {
        let ips = lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
        Self { ips, ttl: ttl(lookup) }
    }
}

impl Memory {
    fn complete(
        &mut self,
        name: &Name,
        kind: RecordType,
        answer: Result<Addresses, Failure>,
        ttl: &mut Duration,
    ) -> Vec<IpAddr> {
        let known = self.0.entry((name.clone(), kind));
        match answer {
            Ok(found) => {
                *ttl = found.ttl.min(*ttl);
                known.insert_entry(found.ips).get().clone()
            }
            Err(failure) if failure.is_negative() => {
                if let Entry::Occupied(known) = known {
                    known.remove();
                }
                Vec::new()
            }
            Err(_) => {
                *ttl = INCOMPLETE_TTL.min(*ttl);
                known.or_default().clone()
            }
        }
    }
}

fn fixed(address: SocketAddr) -> Answer {
    Answer { addresses: vec![Found { ip: address.ip(), port: None, turns: 1 }], ttl: Duration::MAX }
}

fn parse(name: &str) -> Result<Name, Failure> {
    Name::from_ascii(name).map_err(|error| Failure::Other(error.to_string().into()))
}

/// The least time to live of the records; CNAMEs count too.
fn ttl(lookup: &Lookup) -> Duration {
    let seconds = lookup.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(seconds.unwrap_or_default().into())
}

/// What the system's `hosts` file says; it is read anew each time.
fn in_hosts_file(name: &Name) -> Option<Host> {
    let hosts = Hosts::from_system().ok()?;
    let known = |kind| {
        let lookup = hosts.lookup_static_host(&Query::query(name.clone(), kind)).ok_or(Failure::Empty)?;
        Ok(Addresses { ttl: HOSTS_FILE_TTL, ..Addresses::of(&lookup) })
    };
    let host = Host { name: name.clone(), ipv4: known(RecordType::A), ipv6: known(RecordType::AAAA) };
    host.failure().is_none().then_some(host)
}

/// The targets to use, and how long they hold. A single `.` says that there is no such service (RFC 2782).
fn preferred_targets(lookup: &Lookup) -> Result<(Vec<SRV>, Duration), Failure> {
    let records = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(service) if !service.target.is_root() && service.port != 0 => Some(service),
        _ => None,
    });
    let records: Vec<&SRV> = records.collect();
    let lowest = records.iter().map(|service| service.priority).min().ok_or(Failure::Empty)?;
    let preferred = records.into_iter().filter(|service| service.priority == lowest).cloned();
    Ok((preferred.collect(), ttl(lookup)))
}

/// The share of a target in whole turns, at least one; the heaviest has the most.
fn turns(weight: u16, heaviest: u16) -> u16 {
    let (weight, heaviest) = (u32::from(weight), u32::from(heaviest));
    if weight == heaviest {
        return if heaviest == 0 { 1 } else { MAX_TURNS as u16 };
    }
    (weight * MAX_TURNS).div_ceil(heaviest).clamp(1, MAX_TURNS) as u16
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Dns;

    fn resolver(resolv_conf: &str) -> Resolver {
        Resolver::new(Settings { dns: Dns::default(), resolv_conf: resolv_conf.into() })
    }

    #[test]
    fn names_are_completed_as_resolv_conf_says() {
        let system = resolver("nameserver 127.0.0.1\nsearch a.example b.example\noptions ndots:2\n");
        for (name, expected) in [
            ("orders", &["orders.a.example.", "orders.b.example.", "orders."][..]),
            ("orders.internal", &["orders.internal.a.example.", "orders.internal.b.example.", "orders.internal."]),
            (
                "v1.orders.internal",
                &["v1.orders.internal.", "v1.orders.internal.a.example.", "v1.orders.internal.b.example."],
            ),
            ("orders.", &["orders."]),
            ("localhost", &["localhost."]),
            ("orders.localhost", &["orders.localhost."]),
        ] {
            let names: Vec<_> = system.candidates(&parse(name).unwrap()).iter().map(Name::to_string).collect();
            assert_eq!(names, expected, "{name}");
        }
    }

    #[test]
    fn weights_become_turns() {
        for (weight, heaviest, expected) in [(0, 0, 1), (5, 5, 16), (0, 5, 1), (1, 2, 8), (1, 65_535, 1), (30, 40, 12)]
        {
            assert_eq!(turns(weight, heaviest), expected, "{weight} of {heaviest}");
        }
    }

    #[test]
    fn no_such_name_outweighs_a_failure_and_a_failure_an_empty_answer() {
        for (ipv4, ipv6, expected) in [
            (Failure::NoName, Failure::Timeout, Failure::NoName),
            (Failure::Timeout, Failure::NoName, Failure::NoName),
            (Failure::Empty, Failure::Timeout, Failure::Timeout),
            (Failure::Timeout, Failure::Empty, Failure::Timeout),
            (Failure::Empty, Failure::Empty, Failure::Empty),
        ] {
            let host = Host { name: Name::root(), ipv4: Err(ipv4), ipv6: Err(ipv6) };
            assert_eq!(host.failure(), Some(expected));
        }
    }
}
