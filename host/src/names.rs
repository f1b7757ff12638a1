//! Names of endpoints: what addresses they stand for now.
//!
//! Every name has a task on the thread `meshup-names` that looks it up again and again, by the time to live of its
//! answers. A look-up that fails changes no address: the last good answer stays. Who asks for a name's addresses gets
//! those known now, at once.
//!
//! **Invariant:** nobody waits for a name server but that thread and, for a bounded time, the building of a generation.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};

mod failure;
mod follow;
mod resolver;
mod settings;

pub(crate) use failure::Failure;

use crate::config::{Config, Endpoint};
use resolver::Resolver;
use settings::Settings;

/// How long a new generation waits for the first answers to its new names.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// The last good answer.
    pub addresses: Arc<[Found]>,
    /// What became of the last look-up; none while the first is under way.
    pub outcome: Option<Result<(), Failure>>,
}

/// One address that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub ip: IpAddr,
    /// What an SRV record says.
    pub port: Option<u16>,
    /// Its share among its kind: 1 but for SRV records of unequal weight.
    pub turns: u16,
}

/// The thread that looks names up. It is started when there is a name to look up, and ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Names {
    thread: OnceLock<Option<Thread>>,
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    handle: Option<JoinHandle<()>>,
}

/// The names of one generation.
#[derive(Debug, Default)]
pub(crate) struct Table {
    resolver: Option<Arc<Resolver>>,
    /// A name is looked up for as long as somebody holds its receiver.
    names: BTreeMap<Endpoint, watch::Receiver<Resolution>>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self { thread: OnceLock::new(), changes: Arc::new(watch::Sender::new(0)) }
    }

    /// Changes whenever what is known of any name does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The names of `config`. Those that `previous` knows are kept, so that a reload loses no address.
    pub(crate) fn table(&self, config: &Config, previous: Option<&Table>) -> Table {
        let endpoints = config.upstreams.values().flat_map(|upstream| &upstream.endpoints);
        let mut names: Vec<_> = endpoints.filter(|endpoint| !matches!(endpoint, Endpoint::Address(_))).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Table::default();
        }
        let settings = Settings::read(&config.dns);
        let kept = previous.and_then(|previous| previous.resolver.as_ref()).filter(|kept| *kept.settings() == settings);
        let resolver = kept.cloned().unwrap_or_else(|| Arc::new(Resolver::new(settings)));
        let receiver = |name: &Endpoint| {
            let known = previous.and_then(|previous| previous.names.get(name));
            known.filter(|_| kept.is_some()).cloned().unwrap_or_else(|| self.follow(name, &resolver, known))
        };
        let names = names.into_iter().map(|name| (name.clone(), receiver(name))).collect();
        Table { resolver: Some(resolver), names }
    }

    /// Waits a short while for the first outcome of every look-up.
    pub(crate) fn wait(&self, table: &Table) {
        let is_pending = |name: &&watch::Receiver<Resolution>| name.borrow().outcome.is_none();
        let pending: Vec<_> = table.names.values().filter(is_pending).cloned().collect();
        let (Some(thread), false) = (self.thread(), pending.is_empty()) else { return };
        let (done, all_done) = mpsc::channel();
        thread.runtime.spawn(async move {
            for mut name in pending {
                let _ = name.wait_for(|resolution| resolution.outcome.is_some()).await;
            }
            let _ = done.send(());
        });
        if all_done.recv_timeout(FIRST_ANSWER).is_err() {
            tracing::warn!("starting before every name is looked up");
        }
    }

    /// Begins to look a name up; until the first answer it stands for what was `known`.
    fn follow(
        &self,
        name: &Endpoint,
        resolver: &Arc<Resolver>,
        known: Option<&watch::Receiver<Resolution>>,
    ) -> watch::Receiver<Resolution> {
        let addresses = known.map(|known| known.borrow().addresses.clone()).unwrap_or_default();
        let (sender, receiver) = watch::channel(Resolution { addresses, outcome: None });
        let task = follow::Task::new(name.clone(), resolver.clone(), sender, self.changes.clone());
        match self.thread() {
            Some(thread) => drop(thread.runtime.spawn(task.run())),
            None => tracing::error!(%name, "the name is not looked up: no thread"),
        }
        receiver
    }

    fn thread(&self) -> Option<&Thread> {
        let start = || Thread::start().inspect_err(|error| tracing::error!(%error, "cannot start a thread")).ok();
        self.thread.get_or_init(start).as_ref()
    }
}

impl Thread {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("meshup-names".into());
        let thread = thread.spawn(move || drop(runtime.block_on(stopped)))?;
        Ok(Self { runtime: handle, stop: Some(stop), handle: Some(thread) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.handle.take() {
            let _ = thread.join();
        }
    }
}

impl Table {
    /// What is known of a name.
    pub(crate) fn resolution(&self, name: &Endpoint) -> Option<Resolution> {
        self.names.get(name).map(|resolution| resolution.borrow().clone())
    }

    /// Whether the other's names are looked up with the same resolver.
    pub(crate) fn has_resolver_of(&self, other: &Self) -> bool {
        self.resolver.as_ref().map(Arc::as_ptr) == other.resolver.as_ref().map(Arc::as_ptr)
    }

    /// What the endpoints of an upstream stand for.
    pub(crate) fn members(&self, endpoints: &[Endpoint]) -> Members {
        let source = |endpoint: &Endpoint| match endpoint {
            Endpoint::Address(address) => Some(Source::Address(*address)),
            Endpoint::Host { port, .. } => self.named(endpoint, Some(*port)),
            Endpoint::Service(_) => self.named(endpoint, None),
        };
        Members(endpoints.iter().filter_map(source).collect())
    }

    fn named(&self, endpoint: &Endpoint, port: Option<u16>) -> Option<Source> {
        let resolution = self.names.get(endpoint)?.clone();
        Some(Source::Name { resolution, name: endpoint.peer_name()?, port })
    }
}

/// The endpoints of one upstream, whose addresses may change.
#[derive(Debug, Clone)]
pub(crate) struct Members(Vec<Source>);

#[derive(Debug, Clone)]
enum Source {
    Address(SocketAddr),
    Name { resolution: watch::Receiver<Resolution>, name: Arc<str>, port: Option<u16> },
}

/// One endpoint of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub address: SocketAddr,
    /// The configured name that stands for it.
    pub name: Option<Arc<str>>,
    /// How often it is in a list from which endpoints are picked.
    pub turns: u16,
}

impl Members {
    /// Whether addresses changed since they were last [`now`](Self::now).
    pub(crate) fn have_changed(&self) -> bool {
        let changed = |source: &Source| match source {
            Source::Address(_) => false,
            Source::Name { resolution, .. } => resolution.has_changed().unwrap_or(false),
        };
        self.0.iter().any(changed)
    }

    /// The endpoints as they are known now, each address once.
    pub(crate) fn now(&mut self) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = rustc_hash::FxHashSet::default();
        for source in &mut self.0 {
            source.members(&mut |member| {
                if seen.insert(member.address) {
                    members.push(member);
                }
            });
        }
        members
    }
}

impl Source {
    fn members(&mut self, each: &mut dyn FnMut(Member)) {
        match self {
            Self::Address(address) => each(Member { address: *address, name: None, turns: 1 }),
            Self::Name { resolution, name, port } => {
                for found in resolution.borrow_and_update().addresses.iter() {
                    let Some(port) = found.port.or(*port) else { continue };
                    let address = SocketAddr::new(found.ip, port);
                    each(Member { address, name: Some(name.clone()), turns: found.turns });
                }
            }
        }
    }
}
