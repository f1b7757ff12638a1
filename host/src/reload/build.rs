//! Building one generation: modules, filters, TLS, listeners.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{modules, tls};
use crate::{
    config::{
        Config, Diagnostic, Diagnostics, Filter as FilterConfig, FilterLocation, Location, Locations, ModuleSource,
    },
    route::RouteTable,
    server::{self, BoundListener},
    snapshot::Snapshot,
    wasm::{ConfigureError, Filter, FilterSpec, Module, Priority, Runtime},
};

/// Builds snapshots for a fixed number of workers.
#[derive(Debug)]
pub(crate) struct Builder {
    pub runtime: Arc<Runtime>,
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
        mut config: Config,
        locations: &Locations,
        previous: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>, Diagnostics> {
        self.keep_what_lasts(&mut config, previous);
        let mut faults = Vec::new();
        let filters = self.filters(&config, locations, previous, &mut faults);
        let tls = tls::load(&config, locations, previous, &mut faults);
        for path in &tls.expired {
            tracing::warn!(certificate = %path.display(), "the certificate has expired");
        }
        if let Some(faults) = Diagnostics::of(std::mem::take(&mut faults)) {
            return Err(faults);
        }
        let is_same = |previous: &Snapshot| {
            *previous.config == config && same_filters(&previous.filters, &filters) && same_tls(previous, &tls)
        };
        if previous.is_some_and(is_same) {
            return Ok(None);
        }
        let listeners = self.listeners(&config, tls.listeners, locations, previous, &mut faults);
        if let Some(faults) = Diagnostics::of(faults) {
            return Err(faults);
        }
        Ok(Some(Snapshot {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            routes: RouteTable::new(&config),
            config: Arc::new(config),
            filters,
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

    /// Loads and configures every filter of `config` and reads every certificate, and keeps none; gives back the
    /// certificates that have expired.
    ///
    /// # Errors
    /// Every filter that cannot be loaded or configured and every certificate that cannot be used.
    pub(crate) fn check(&self, config: &Config, locations: &Locations) -> Result<Vec<PathBuf>, Diagnostics> {
        let mut faults = Vec::new();
        self.filters(config, locations, None, &mut faults);
        let tls = tls::load(config, locations, None, &mut faults);
        Diagnostics::of(faults).map_or(Ok(tls.expired), Err)
    }

    /// Loads and configures every filter; those that did not change are taken from `previous`.
    fn filters(
        &self,
        config: &Config,
        locations: &Locations,
        previous: Option<&Snapshot>,
        faults: &mut Vec<Diagnostic>,
    ) -> BTreeMap<Arc<str>, Arc<Filter>> {
        // Traffic goes on during a reload.
        let priority = if previous.is_some() { Priority::Low } else { Priority::Normal };
        let modules = modules::load(&self.runtime, config, priority);
        let mut filters = BTreeMap::new();
        for ((name, filter), module) in config.filters.iter().zip(modules) {
            let unknown =
                FilterLocation { module: Location::file(Path::new("")), config: Location::file(Path::new("")) };
            let location = locations.filters.get(name).unwrap_or(&unknown);
            let known = previous.and_then(|previous| previous.filters.get(name));
            let filter = module
                .map_err(|problem| problem.about(name, &location.module))
                .and_then(|module| self.filter(name, filter, module, location, known));
            match filter {
                Ok(filter) => drop(filters.insert(name.clone(), filter)),
                Err(fault) => faults.push(fault),
            }
        }
        filters
    }

    fn filter(
        &self,
        name: &Arc<str>,
        filter: &FilterConfig,
        module: Arc<Module>,
        location: &FilterLocation,
        known: Option<&Arc<Filter>>,
    ) -> Result<Arc<Filter>, Diagnostic> {
        let log_lines_per_second = match &filter.module {
            ModuleSource::Builtin(_) => u32::MAX,
            ModuleSource::File(_) => FilterSpec::LOG_LINES_PER_SECOND,
        };
        let spec = FilterSpec {
            name: name.clone(),
            module,
            on_error: filter.on_error,
            isolation: filter.isolation,
            limits: filter.limits.clone(),
            config: filter.config.clone(),
            log_lines_per_second,
        };
        if let Some(known) = known.filter(|known| *known.spec() == spec) {
            return Ok(known.clone());
        }
        Filter::new(&self.runtime, spec).map_err(|error| match error {
            ConfigureError::Refused { .. } => location.config.error(error.to_string()),
            ConfigureError::Faulted(_) => location.module.error(error.to_string()),
        })
    }

    fn listeners(
        &self,
        config: &Config,
        tls: Vec<Option<Arc<server::Tls>>>,
        locations: &Locations,
        previous: Option<&Snapshot>,
        faults: &mut Vec<Diagnostic>,
    ) -> Vec<Arc<BoundListener>> {
        let mut listeners = Vec::new();
        for ((settings, tls), location) in config.listeners.iter().zip(tls).zip(&locations.listeners) {
            let settings = Arc::new(settings.clone());
            let bound = previous
                .and_then(|previous| previous.listeners.iter().find(|listener| listener.address == settings.listen));
            match bound {
                Some(bound) => listeners.push(Arc::new(bound.with_settings(settings, tls))),
                None => match BoundListener::bind(settings.clone(), tls, self.workers) {
                    Ok(listener) => listeners.push(Arc::new(listener)),
                    Err(error) => {
                        let message =
                            format!("listener {:?}: cannot listen on {}: {error}", settings.name, settings.listen);
                        faults.push(location.address.error(message));
                    }
                },
            }
        }
        listeners
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
