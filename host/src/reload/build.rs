//! Building one generation: filters, names, TLS, routes, listeners.
//!
//! **Invariant:** no listener is bound before everything else is right.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{filters, tls};
use crate::{
    config::{Config, Diagnostic, Diagnostics, Listener, ListenerLocation, Locations},
    names::Names,
    route::RouteTable,
    server::{self, BoundListener},
    snapshot::Snapshot,
    wasm::{Filter, Runtime},
};

/// Builds snapshots for a fixed number of workers.
#[derive(Debug)]
pub(crate) struct Builder {
    pub runtime: Arc<Runtime>,
    pub names: Names,
    /// Decided at the start; a changed number takes effect at the next.
    pub workers: usize,
}

impl Builder {
    /// The generation of `config` after `previous`; `None` when nothing differs.
    ///
    /// # Errors
    /// Every filter that cannot be loaded or configured, every certificate that cannot be used and every listener that
    /// cannot be bound.
    pub(crate) fn build(
        &self,
        config: Config,
        locations: &Locations,
        previous: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>, Diagnostics> {
        self.runtime.limit_memory(config.filter_memory);
        self.build_within(config, locations, previous).inspect_err(|_| {
            self.runtime.limit_memory(previous.and_then(|previous| previous.config.filter_memory));
        })
    }

    fn build_within(
        &self,
        mut config: Config,
        locations: &Locations,
        previous: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>, Diagnostics> {
        self.keep_what_lasts(&mut config, previous);
        let names = self.names.table(&config, previous.map(|previous| &previous.names));
        let mut faults = Vec::new();
        let filters = filters::configure(&self.runtime, &config.filters, &locations.filters, previous, &mut faults);
        let tls = tls::load(&config, locations, previous, &mut faults);
        for path in &tls.expired {
            tracing::warn!(certificate = %path.display(), "the certificate has expired");
        }
        if let Some(faults) = Diagnostics::of(std::mem::take(&mut faults)) {
            return Err(faults);
        }
        let is_same = |previous: &Snapshot| {
            *previous.config == config
                && same_filters(&previous.filters, &filters)
                && same_tls(previous, &tls)
                && previous.names.has_resolver_of(&names)
        };
        if previous.is_some_and(is_same) {
            return Ok(None);
        }
        self.names.wait(&names);
        let listeners = self.listeners(&config, tls.listeners, locations, previous, &mut faults);
        if let Some(faults) = Diagnostics::of(faults) {
            return Err(faults);
        }
        Ok(Some(Snapshot {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            routes: RouteTable::new(&config),
            config: Arc::new(config),
            filters,
            names,
            listeners,
            upstream_tls: tls.upstreams,
        }))
    }

    /// Puts back what a running process cannot change.
    fn keep_what_lasts(&self, config: &mut Config, previous: Option<&Snapshot>) {
        let Some(previous) = previous else { return };
        if config.workers != self.workers {
            tracing::warn!(now = self.workers, configured = config.workers, "workers change at the next start only");
        }
        let (now, configured) = (previous.config.admin.listen, config.admin.listen);
        if configured != now {
            tracing::warn!(%now, %configured, "the address of admin changes at the next start only");
        }
        config.workers = self.workers;
        config.admin.listen = now;
    }

    fn listeners(
        &self,
        config: &Config,
        tls: Vec<Option<Arc<server::Tls>>>,
        locations: &Locations,
        previous: Option<&Snapshot>,
        faults: &mut Vec<Diagnostic>,
    ) -> Vec<Arc<BoundListener>> {
        let mut listeners: Vec<Arc<BoundListener>> = Vec::new();
        let known = previous.map_or(&[][..], |previous| &previous.listeners);
        for ((settings, tls), location) in config.listeners.iter().zip(tls).zip(&locations.listeners) {
            let settings = Arc::new(settings.clone());
            let ours = Vec::from_iter(known.iter().chain(&listeners).map(|listener| listener.local));
            match known.iter().find(|listener| listener.is_of(&settings)) {
                Some(bound) => listeners.push(Arc::new(bound.with_settings(settings, tls))),
                None => match BoundListener::bind(settings.clone(), tls, self.workers, &ours) {
                    Ok(listener) => listeners.push(Arc::new(listener)),
                    Err(error) => faults.push(not_bound(&settings, location, &error)),
                },
            }
        }
        listeners
    }
}

fn not_bound(settings: &Listener, location: &ListenerLocation, error: &io::Error) -> Diagnostic {
    let Listener { name, listen, .. } = settings;
    let fault = location.address.error(format!("listener {name:?}: cannot listen on {listen}: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => fault.with_help("another process listens there: `ss -ltnp` shows which"),
        _ => fault,
    }
}

fn same_tls(previous: &Snapshot, tls: &tls::Loaded) -> bool {
    let pointers = |tls: Option<&Arc<server::Tls>>| tls.map(Arc::as_ptr);
    let listeners = previous.listeners.iter().map(|listener| pointers(listener.tls.as_ref()));
    listeners.eq(tls.listeners.iter().map(|tls| pointers(tls.as_ref()))) && previous.upstream_tls == tls.upstreams
}

fn same_filters(left: &BTreeMap<Arc<str>, Arc<Filter>>, right: &BTreeMap<Arc<str>, Arc<Filter>>) -> bool {
    left.len() == right.len() && left.values().zip(right.values()).all(|(left, right)| Arc::ptr_eq(left, right))
}
