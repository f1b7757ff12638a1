//! Building one generation: modules, filters, listeners.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path, sync::Arc};

use crate::{
    config::{
        Config, Diagnostic, Diagnostics, Filter as FilterConfig, FilterLocation, Location, Locations, ModuleSource,
    },
    route::RouteTable,
    server::BoundListener,
    snapshot::Snapshot,
    wasm::{ConfigureError, Filter, FilterSpec, Module, Runtime},
};

/// A larger file is no filter.
const MAX_MODULE_BYTES: u64 = 32 << 20;

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
    /// Every filter that cannot be loaded or configured and every listener that cannot be bound.
    pub(crate) fn build(
        &self,
        mut config: Config,
        locations: &Locations,
        previous: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>, Diagnostics> {
        self.keep_what_lasts(&mut config, previous);
        let mut faults = Vec::new();
        let filters = self.filters(&config, locations, previous, &mut faults);
        if let Some(faults) = Diagnostics::of(std::mem::take(&mut faults)) {
            return Err(faults);
        }
        if previous.is_some_and(|previous| *previous.config == config && same_filters(&previous.filters, &filters)) {
            return Ok(None);
        }
        let listeners = self.listeners(&config, locations, previous, &mut faults);
        if let Some(faults) = Diagnostics::of(faults) {
            return Err(faults);
        }
        Ok(Some(Snapshot {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            routes: RouteTable::new(&config),
            config: Arc::new(config),
            filters,
            listeners,
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

    /// Loads and configures every filter of `config`, and keeps none.
    ///
    /// # Errors
    /// Every filter that cannot be loaded or configured.
    pub(crate) fn check(&self, config: &Config, locations: &Locations) -> Result<(), Diagnostics> {
        let mut faults = Vec::new();
        self.filters(config, locations, None, &mut faults);
        Diagnostics::of(faults).map_or(Ok(()), Err)
    }

    /// Loads and configures every filter; those that did not change are taken from `previous`.
    fn filters(
        &self,
        config: &Config,
        locations: &Locations,
        previous: Option<&Snapshot>,
        faults: &mut Vec<Diagnostic>,
    ) -> BTreeMap<Arc<str>, Arc<Filter>> {
        let mut filters = BTreeMap::new();
        for (name, filter) in &config.filters {
            let unknown =
                FilterLocation { module: Location::file(Path::new("")), config: Location::file(Path::new("")) };
            let location = locations.filters.get(name).unwrap_or(&unknown);
            let known = previous.and_then(|previous| previous.filters.get(name));
            match self.filter(name, filter, location, known) {
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
        location: &FilterLocation,
        known: Option<&Arc<Filter>>,
    ) -> Result<Arc<Filter>, Diagnostic> {
        let module = self.module(&filter.module).map_err(|problem| {
            let fault = location.module.error(format!("filter {name:?}: {}", problem.message));
            match problem.help {
                Some(help) => fault.with_help(help),
                None => fault,
            }
        })?;
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

    fn module(&self, source: &ModuleSource) -> Result<Arc<Module>, Problem> {
        match source {
            ModuleSource::Builtin(name) => {
                let wasm = meshup_filters::builtin(name).ok_or_else(|| unknown_builtin(name))?;
                self.runtime.load(wasm).map_err(Problem::new)
            }
            ModuleSource::File(path) => {
                let wasm = read_module(path).map_err(|error| {
                    Problem::new(format_args!("cannot read the module {}: {error}", path.display()))
                })?;
                self.runtime
                    .load(&wasm)
                    .map_err(|error| Problem::new(format_args!("module {}: {error}", path.display())))
            }
        }
    }

    fn listeners(
        &self,
        config: &Config,
        locations: &Locations,
        previous: Option<&Snapshot>,
        faults: &mut Vec<Diagnostic>,
    ) -> Vec<Arc<BoundListener>> {
        let mut listeners = Vec::new();
        for (settings, location) in config.listeners.iter().zip(&locations.listeners) {
            let settings = Arc::new(settings.clone());
            let bound = previous
                .and_then(|previous| previous.listeners.iter().find(|listener| listener.address == settings.listen));
            match bound {
                Some(bound) => listeners.push(Arc::new(bound.with_settings(settings))),
                None => match BoundListener::bind(settings.clone(), self.workers) {
                    Ok(listener) => listeners.push(Arc::new(listener)),
                    Err(error) => {
                        let message =
                            format!("listener {:?}: cannot listen on {}: {error}", settings.name, settings.listen);
                        faults.push(location.error(message));
                    }
                },
            }
        }
        listeners
    }
}

/// What is wrong with a module, before it is known where it was named.
struct Problem {
    message: String,
    help: Option<String>,
}

impl Problem {
    fn new(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), help: None }
    }
}

fn unknown_builtin(name: &str) -> Problem {
    let known = meshup_filters::NAMES.join(", ");
    let likely = meshup_filters::NAMES.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2);
    let help = match likely {
        Some(likely) => format!("did you mean \"builtin:{likely}\"? there are: {known}"),
        None => format!("there are: {known}"),
    };
    Problem { message: format!("there is no bundled filter {name:?}"), help: Some(help) }
}

fn read_module(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut wasm = Vec::new();
    File::open(path)?.take(MAX_MODULE_BYTES + 1).read_to_end(&mut wasm)?;
    Ok(wasm)
}

fn same_filters(left: &BTreeMap<Arc<str>, Arc<Filter>>, right: &BTreeMap<Arc<str>, Arc<Filter>>) -> bool {
    left.len() == right.len() && left.values().zip(right.values()).all(|(left, right)| Arc::ptr_eq(left, right))
}
