//! The state of filters and upstreams as JSON.
//!
//! Numbers come from the workers once a second. A filter's count from the generation that brought its present code and
//! configuration.

use std::{collections::BTreeSet, sync::Arc, time::UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::State;
use crate::{
    config::{Diagnostics, Isolation, ModuleSource, OnError},
    reload::Failure,
    snapshot::Snapshot,
    wasm::Filter,
    worker::{EndpointReport, WorkerReport},
};

impl State {
    /// The generation in service.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }
}

/// `GET /filters`
pub(super) fn filters(state: &State) -> Value {
    let snapshot = state.snapshot();
    let filters = snapshot.filters.iter().map(|(name, one)| (name.to_string(), filter(&snapshot, name, one)));
    json!({
        "generation": snapshot.generation,
        "filters": filters.collect::<Map<_, _>>(),
        "last_reload_failure": state.reload.failure().as_ref().map(failure),
    })
}

fn filter(snapshot: &Snapshot, name: &str, filter: &Filter) -> Value {
    let (spec, statistics) = (filter.spec(), filter.statistics());
    let module = snapshot.config.filters.get(name).map(|filter| match &filter.module {
        ModuleSource::Builtin(name) => format!("builtin:{name}"),
        ModuleSource::File(path) => path.display().to_string(),
    });
    let faults = statistics.faults.into_iter().map(|(kind, count)| (kind.to_owned(), count.into()));
    json!({
        "module": module,
        "digest": format!("sha256:{}", spec.module.digest()),
        "size_bytes": spec.module.size(),
        "on_error": match spec.on_error {
            OnError::Deny => "deny",
            OnError::Bypass => "bypass",
        },
        "isolation": match spec.isolation {
            Isolation::Worker => "worker",
            Isolation::Exchange => "exchange",
        },
        "generation": snapshot.generation,
        "calls": statistics.calls,
        "faults": faults.collect::<Map<_, _>>(),
        "mean_call_seconds": statistics.mean_call.map(|mean| mean.as_secs_f64()),
    })
}

fn failure(failure: &Failure) -> Value {
    let mut document = refusal(&failure.diagnostics);
    let at = failure.at.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    document.insert("unix_seconds".into(), at.into());
    document.into()
}

/// Why a configuration is refused: for programs, and as `meshup check` prints it.
pub(super) fn refusal(diagnostics: &Diagnostics) -> Map<String, Value> {
    let errors = serde_json::to_value(diagnostics).unwrap_or_default();
    let entries = [("errors", errors), ("total", diagnostics.total().into()), ("text", diagnostics.to_string().into())];
    entries.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

/// `GET /upstreams`
pub(super) fn upstreams(state: &State) -> Value {
    let (snapshot, workers) = (state.snapshot(), state.reports.all());
    let upstreams = snapshot.config.upstreams.iter().map(|(name, upstream)| {
        let reports = || workers.iter().flat_map(|worker| &worker.endpoints).filter(|report| report.upstream == *name);
        let found: BTreeSet<_> =
            reports().map(|report| report.address).filter(|_| upstream.original_destination).collect();
        let endpoints = upstream.endpoints.iter().chain(&found).map(|address| {
            let reports: Vec<_> = reports().filter(|report| report.address == *address).collect();
            let mut document = endpoint(&reports);
            document.insert("address".into(), address.to_string().into());
            Value::from(document)
        });
        (name.to_string(), json!({ "endpoints": endpoints.collect::<Value>() }))
    });
    json!({
        "generation": snapshot.generation,
        "upstreams": upstreams.collect::<Map<_, _>>(),
        "workers": workers.iter().map(worker).collect::<Value>(),
    })
}

/// What the workers see of one endpoint, taken together.
fn endpoint(reports: &[&EndpointReport]) -> Map<String, Value> {
    let healthy = !reports.iter().any(|report| report.failing);
    let connections: usize = reports.iter().map(|report| report.connections).sum();
    let active: usize = reports.iter().map(|report| report.active).sum();
    let last_failure = reports.iter().find_map(|report| report.last_failure.as_deref());
    let entries = [
        ("healthy", healthy.into()),
        ("connections", connections.into()),
        ("active_requests", active.into()),
        ("last_failure", last_failure.into()),
    ];
    entries.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

fn worker(worker: &WorkerReport) -> Value {
    json!({ "generation": worker.generation, "connections": worker.connections })
}
