//! Loading and configuring the filters of a configuration, also of one that has faults elsewhere.
//!
//! **Invariant:** every filter that cannot be used is told of, whatever became of the others.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{Source, modules, tls};
use crate::{
    config::{
        Config, Diagnostic, Diagnostics, Filter as FilterConfig, FilterLocation, Locations, ModuleSource, Rejected,
    },
    snapshot::Snapshot,
    wasm::{ConfigureError, Filter, FilterSpec, Module, Priority, Runtime},
};

/// Everything that a start would find wrong, but for addresses in use; the filters are dropped again. Gives back the
/// certificates that have expired too.
///
/// # Errors
/// Every fault, those of filters, modules and certificates too.
pub(crate) fn check(runtime: &Arc<Runtime>, source: &Source) -> Result<(Config, Vec<PathBuf>), Diagnostics> {
    let (config, locations) = read(runtime, source, None)?;
    let mut faults = Vec::new();
    runtime.limit_memory(config.filter_memory);
    configure(runtime, &config.filters, &locations.filters, None, &mut faults);
    let tls = tls::load(&config, &locations, None, &mut faults);
    Diagnostics::of(faults).map_or(Ok((config, tls.expired)), Err)
}

/// Reads a configuration. Where it has faults, its sound filters and certificates are tried, so that theirs are told with
/// them.
///
/// # Errors
/// Every fault of the text, and then of filters, modules and certificates too.
pub(crate) fn read(
    runtime: &Arc<Runtime>,
    source: &Source,
    previous: Option<&Snapshot>,
) -> Result<(Config, Locations), Diagnostics> {
    source.read().map_err(|rejected| {
        let Rejected { faults, sound } = *rejected;
        let mut others = Vec::new();
        if let Some((config, locations)) = sound {
            configure(runtime, &config.filters, &locations.filters, previous, &mut others);
            tls::load(&config, &locations, previous, &mut others);
        }
        faults.and(others)
    })
}

/// Loads and configures every filter; those that did not change are taken from `previous`.
pub(super) fn configure(
    runtime: &Arc<Runtime>,
    filters: &BTreeMap<Arc<str>, FilterConfig>,
    locations: &BTreeMap<Arc<str>, FilterLocation>,
    previous: Option<&Snapshot>,
    faults: &mut Vec<Diagnostic>,
) -> BTreeMap<Arc<str>, Arc<Filter>> {
    // Traffic goes on during a reload.
    let priority = if previous.is_some() { Priority::Low } else { Priority::Normal };
    let modules = modules::load(runtime, filters, priority);
    let mut configured = BTreeMap::new();
    for (((name, filter), location), module) in filters.iter().zip(locations.values()).zip(modules) {
        let known = previous.and_then(|previous| previous.filters.get(name));
        let result = module
            .map_err(|problem| problem.about(name, &location.module))
            .and_then(|module| configure_one(runtime, spec(name, filter, module), location, known));
        match result {
            Ok(filter) => drop(configured.insert(name.clone(), filter)),
            Err(fault) => faults.push(fault),
        }
    }
    configured
}

fn spec(name: &Arc<str>, filter: &FilterConfig, module: Arc<Module>) -> FilterSpec {
    let log_lines_per_second = match &filter.module {
        ModuleSource::Builtin(_) => u32::MAX,
        ModuleSource::File(_) => FilterSpec::LOG_LINES_PER_SECOND,
    };
    FilterSpec {
        name: name.clone(),
        module,
        on_error: filter.on_error,
        isolation: filter.isolation,
        limits: filter.limits.clone(),
        config: filter.config.clone(),
        log_lines_per_second,
    }
}

fn configure_one(
    runtime: &Arc<Runtime>,
    spec: FilterSpec,
    location: &FilterLocation,
    known: Option<&Arc<Filter>>,
) -> Result<Arc<Filter>, Diagnostic> {
    if let Some(known) = known.filter(|known| *known.spec() == spec) {
        return Ok(known.clone());
    }
    Filter::new(runtime, spec).map_err(|error| match error {
        ConfigureError::Refused { .. } => location.config.error(error.to_string()),
        ConfigureError::Faulted(_) => location.module.error(error.to_string()),
    })
}
