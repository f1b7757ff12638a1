//! One worker: a thread with its own runtime, sockets, connection pools and filter instances.
//!
//! **Invariant:** nothing in a worker is touched by another thread. What comes from outside comes through the watch
//! channels it awaits: the next snapshot, and the drain.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::request::Parts;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    allocator, coarse, config,
    drain::Draining,
    observe::{RouteMetrics, WorkerMetrics},
    random::Random,
    server::{self, BoundListener, ListenerTask},
    snapshot::Snapshot,
    upstream::{Destinations, Endpoint, EndpointKey, EndpointList, Places, Settings, Upstream},
    wasm::WorkerFilter,
};

mod report;

pub(crate) use report::{EndpointReport, Reports, WorkerReport};

/// How often idle connections are looked through and counts are handed on.
const TICK: Duration = Duration::from_secs(1);
/// The allocator keeps what is freed for some time before it gives it back.
const GIVES_BACK: u32 = 3;

/// What a worker is given.
#[derive(Debug)]
pub(crate) struct WorkerInput {
    pub index: usize,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Changes when a name stands for other addresses.
    pub names: watch::Receiver<u64>,
    pub drain: Draining,
    pub reports: Reports,
}

/// One worker's state.
#[derive(Debug)]
pub(crate) struct Worker {
    pub index: usize,
    pub metrics: WorkerMetrics,
    /// Tells a shutdown to every connection.
    pub drain: Draining,
    /// How many workers there are.
    pub workers: usize,
    generation: RefCell<Rc<Generation>>,
    endpoints: RefCell<FxHashMap<EndpointKey, Rc<Endpoint>>>,
    destinations: RefCell<FxHashMap<Arc<str>, Rc<Destinations>>>,
    connections: Cell<usize>,
    /// In how many ticks yet freed memory goes back to the system.
    gives_back: Cell<u32>,
}

/// One configuration generation as a worker uses it.
#[derive(Debug)]
pub(crate) struct Generation {
    snapshot: Arc<Snapshot>,
    routes: Vec<Rc<Route>>,
    upstreams: BTreeMap<Arc<str>, Rc<Upstream>>,
    filters: BTreeMap<Arc<str>, Rc<WorkerFilter>>,
}

/// One route with what it leads to.
#[derive(Debug)]
pub(crate) struct Route {
    pub name: Arc<str>,
    /// The path prefix among its conditions.
    pub path_prefix: Option<Arc<str>>,
    /// Outermost first.
    pub filters: Vec<Rc<WorkerFilter>>,
    pub timeout: Option<Duration>,
    pub replay_limit: usize,
    /// Protocols that clients may switch to, lower case.
    pub upgrades: Vec<Arc<str>>,
    pub upgrade_idle_timeout: Duration,
    pub metrics: RouteMetrics,
    upstreams: Vec<(Rc<Upstream>, u32)>,
    total_weight: u32,
    random: Random,
}

impl Route {
    /// One of the route's upstreams, by weight.
    pub(crate) fn choose_upstream(&self) -> Option<Rc<Upstream>> {
        if let [(only, _)] = &*self.upstreams {
            return Some(only.clone());
        }
        let mut left = self.random.below(self.total_weight as usize) as u32;
        for (upstream, weight) in &self.upstreams {
            if left < *weight {
                return Some(upstream.clone());
            }
            left -= weight;
        }
        None
    }
}

impl Generation {
    /// The generation's number.
    pub(crate) fn number(&self) -> u64 {
        self.snapshot.generation
    }

    /// The generation's shared part.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The route of a request that came in on `listener`.
    pub(crate) fn route(&self, listener: &Arc<str>, head: &Parts) -> Option<Rc<Route>> {
        self.snapshot.routes.find(listener, head).and_then(|at| self.routes.get(at)).cloned()
    }

    /// An upstream by name.
    pub(crate) fn upstream(&self, name: &str) -> Option<Rc<Upstream>> {
        self.upstreams.get(name).cloned()
    }
}

impl Worker {
    /// A worker that serves the snapshot that is current now.
    pub(crate) fn new(input: &WorkerInput, snapshot: Arc<Snapshot>) -> Rc<Self> {
        let workers = snapshot.config.workers;
        let empty = Generation {
            snapshot: snapshot.clone(),
            routes: Vec::new(),
            upstreams: BTreeMap::new(),
            filters: BTreeMap::new(),
        };
        let worker = Rc::new(Self {
            index: input.index,
            metrics: WorkerMetrics::new(),
            drain: input.drain.clone(),
            workers,
            generation: RefCell::new(Rc::new(empty)),
            endpoints: RefCell::default(),
            destinations: RefCell::default(),
            connections: Cell::new(0),
            gives_back: Cell::new(0),
        });
        worker.adopt(snapshot);
        worker
    }

    /// For how long a connection that is to end may be without a request.
    pub(crate) fn drain_idle_grace(&self) -> Duration {
        self.generation.borrow().snapshot.config.drain.idle_grace
    }

    /// The generation that new exchanges begin with.
    pub(crate) fn generation(&self) -> Rc<Generation> {
        self.generation.borrow().clone()
    }

    /// Counts a client connection while the guard lives.
    pub(crate) fn count_connection(self: &Rc<Self>) -> ConnectionCount {
        self.connections.set(self.connections.get() + 1);
        self.metrics.connections_active.increment(1.0);
        ConnectionCount(self.clone())
    }

    /// Makes a snapshot the current generation: instances and pools that did not change are kept.
    pub(crate) fn adopt(&self, snapshot: Arc<Snapshot>) {
        let next = Rc::new(self.build(snapshot));
        let previous = self.generation.replace(next.clone());
        self.forget_endpoints();
        self.destinations.borrow_mut().retain(|name, _| next.upstreams.contains_key(name));
        drop(previous);
    }

    /// Takes up the addresses that names stand for now. Exchanges with an endpoint that is gone go on, its idle
    /// connections are closed.
    fn follow_names(&self) {
        let generation = self.generation();
        generation.upstreams.values().for_each(|upstream| upstream.follow_names(|key| self.endpoint(key)));
        self.forget_endpoints();
    }

    /// Forgets endpoints that no upstream of the current generation has.
    fn forget_endpoints(&self) {
        let generation = self.generation();
        let endpoints = generation.upstreams.values().flat_map(|upstream| upstream.endpoints());
        let in_use: FxHashSet<_> = endpoints.map(|endpoint| Rc::as_ptr(&endpoint)).collect();
        self.endpoints.borrow_mut().retain(|_, endpoint| in_use.contains(&Rc::as_ptr(endpoint)));
    }

    fn build(&self, snapshot: Arc<Snapshot>) -> Generation {
        let previous = self.generation();
        let config = snapshot.config.clone();
        let filters = snapshot.filters.iter().map(|(name, filter)| {
            let kept = previous.filters.get(name).filter(|kept| Arc::ptr_eq(kept.filter(), filter)).cloned();
            let filter = kept.unwrap_or_else(|| WorkerFilter::new(filter.clone()));
            filter.prepare();
            (name.clone(), filter)
        });
        let filters: BTreeMap<_, _> = filters.collect();
        let upstreams = config.upstreams.iter().map(|(name, upstream)| {
            let settings = Settings::new(upstream, snapshot.upstream_tls.get(name).cloned());
            let places = self.places(name, upstream, &snapshot, settings);
            (name.clone(), Rc::new(Upstream::new(name.clone(), upstream, places)))
        });
        let upstreams: BTreeMap<_, _> = upstreams.collect();
        let routes = config.routes.iter().map(|route| {
            let weighted = route.upstreams.iter();
            let weighted: Vec<_> =
                weighted.filter_map(|choice| Some((upstreams.get(&choice.name)?.clone(), choice.weight))).collect();
            Rc::new(Route {
                name: route.name.clone(),
                path_prefix: route.matches.path_prefix.as_deref().map(Arc::from),
                filters: route.filters.iter().filter_map(|name| filters.get(name).cloned()).collect(),
                timeout: route.timeout,
                replay_limit: route.replay_limit,
                upgrades: route.upgrades.clone(),
                upgrade_idle_timeout: route.upgrade_idle_timeout,
                metrics: RouteMetrics::new(&route.name),
                total_weight: weighted.iter().map(|(_, weight)| weight).sum(),
                upstreams: weighted,
                random: Random::new(),
            })
        });
        Generation { routes: routes.collect(), upstreams, filters, snapshot }
    }

    /// Where the connections of an upstream go.
    fn places(&self, name: &Arc<str>, upstream: &config::Upstream, snapshot: &Snapshot, settings: Settings) -> Places {
        if upstream.original_destination {
            return Places::Destinations(self.destinations(name, settings));
        }
        let members = snapshot.names.members(&upstream.endpoints);
        Places::Endpoints(EndpointList::new(settings, members, |key| self.endpoint(key)))
    }

    /// The endpoint's pool, kept over generations while its settings stay.
    fn endpoint(&self, key: EndpointKey) -> Rc<Endpoint> {
        let mut endpoints = self.endpoints.borrow_mut();
        endpoints.entry(key.clone()).or_insert_with(|| Rc::new(Endpoint::new(key, self.workers))).clone()
    }

    /// The pools of an upstream's original destinations, kept likewise.
    fn destinations(&self, upstream: &Arc<str>, settings: Settings) -> Rc<Destinations> {
        let mut all = self.destinations.borrow_mut();
        if let Some(kept) = all.get(upstream).filter(|kept| kept.settings == settings) {
            return kept.clone();
        }
        let destinations = Rc::new(Destinations::new(settings, self.workers));
        all.insert(upstream.clone(), destinations.clone());
        destinations
    }

    /// A connection rests or is gone, and has freed memory: it goes back to the system within the next ticks.
    pub(crate) fn note_freed(&self) {
        self.gives_back.set(GIVES_BACK);
    }

    fn tick(&self, reports: &Reports) {
        if let Some(left) = self.gives_back.get().checked_sub(1) {
            self.gives_back.set(left);
            allocator::give_back();
            if left == 0 {
                allocator::give_back_of_c();
            }
        }
        coarse::wake_due();
        self.endpoints.borrow().values().for_each(|endpoint| endpoint.close_idle());
        self.destinations.borrow().values().for_each(|destinations| destinations.close_idle());
        let generation = self.generation();
        generation.filters.values().for_each(|filter| filter.flush());
        reports.publish(self.index, self.report(&generation));
    }

    fn report(&self, generation: &Generation) -> WorkerReport {
        let endpoints = generation.upstreams.iter().flat_map(|(name, upstream)| {
            upstream.endpoints_in_use().into_iter().map(|endpoint| EndpointReport {
                upstream: name.clone(),
                address: endpoint.key.address,
                connections: endpoint.connections(),
                active: endpoint.active(),
                failing: endpoint.is_failing(),
                last_failure: endpoint.last_failure(),
            })
        });
        WorkerReport {
            generation: generation.number(),
            connections: self.connections.get(),
            endpoints: endpoints.collect(),
        }
    }
}

/// Counts one client connection.
#[derive(Debug)]
pub(crate) struct ConnectionCount(Rc<Worker>);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.metrics.connections_active.decrement(1.0);
        self.0.note_freed();
    }
}

/// The body of a worker's thread: serves until the drain is over.
///
/// # Errors
/// When the operating system gives no event queue.
pub(crate) fn run(input: WorkerInput) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(serve(input));
    Ok(())
}

async fn serve(mut input: WorkerInput) {
    let snapshot = input.snapshots.borrow_and_update().clone();
    let worker = Worker::new(&input, snapshot);
    let mut listeners = Listeners::default();
    listeners.follow(&worker);
    input.reports.publish(worker.index, worker.report(&worker.generation()));
    let mut ticks = tokio::time::interval(TICK);
    let mut drain = input.drain.clone();
    loop {
        tokio::select! {
            changed = input.snapshots.changed() => {
                if changed.is_err() { break }
                let snapshot = input.snapshots.borrow_and_update().clone();
                worker.adopt(snapshot);
                listeners.follow(&worker);
                input.reports.publish(worker.index, worker.report(&worker.generation()));
            }
            Ok(()) = input.names.changed() => worker.follow_names(),
            _ = ticks.tick() => worker.tick(&input.reports),
            () = drain.listeners_close() => break,
        }
    }
    listeners.close().await;
    drain_connections(&worker, &input, &mut ticks).await;
}

/// Waits for the last connection or the end of the drain.
async fn drain_connections(worker: &Rc<Worker>, input: &WorkerInput, ticks: &mut tokio::time::Interval) {
    let deadline = input.drain.deadline().unwrap_or_else(Instant::now);
    ticks.reset_after(Duration::ZERO);
    let mut poll = tokio::time::interval(Duration::from_millis(5));
    let mut names = input.names.clone();
    while worker.connections.get() > 0 && Instant::now() < deadline {
        tokio::select! {
            _ = poll.tick() => {}
            Ok(()) = names.changed() => worker.follow_names(),
            _ = ticks.tick() => worker.tick(&input.reports),
        }
    }
    let left = worker.connections.get();
    if left > 0 {
        tracing::warn!(worker = worker.index, connections = left, "drain timed out with connections open");
    }
    worker.tick(&input.reports);
}

/// The accept loops of a worker, each with what it accepts for.
#[derive(Debug, Default)]
struct Listeners(Vec<(Arc<BoundListener>, ListenerTask, JoinHandle<()>)>);

impl Listeners {
    /// Starts and stops accept loops so that they are those of the current generation.
    fn follow(&mut self, worker: &Rc<Worker>) {
        let generation = worker.generation();
        let wanted = &generation.snapshot().listeners;
        self.0.retain(|(known, task, _)| {
            let keep = wanted.iter().any(|listener| listener.is_same(known));
            if !keep {
                task.stop();
            }
            keep
        });
        for listener in wanted {
            if let Some((known, task, _)) = self.0.iter_mut().find(|(known, ..)| known.is_same(listener)) {
                task.update(listener.clone());
                *known = listener.clone();
            } else if let Some(socket) = listener.socket(worker.index) {
                let (task, handle) = server::listen(worker, socket, listener.clone());
                self.0.push((listener.clone(), task, handle));
            }
        }
    }

    /// Closes every listening socket after the connections that wait in its queue are accepted.
    async fn close(self) {
        for (_, task, handle) in self.0 {
            task.stop();
            let _ = handle.await;
        }
    }
}
