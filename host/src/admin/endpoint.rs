//! What the admin listener answers where.
//!
//! **Invariant:** what changes something is a POST; everything else is a GET or a HEAD and changes nothing.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    State,
    answer::{self, Answer},
    state,
};
use crate::{
    config::{self, Diagnostics},
    observe,
    reload::{Reloaded, Trigger},
};

const ADOPTION_TIMEOUT: Duration = Duration::from_secs(5);
const ADOPTION_POLL: Duration = Duration::from_millis(1);

/// One path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Index,
    Health,
    Readiness,
    Metrics,
    Config,
    Filters,
    Upstreams,
    Reload,
}

/// Every endpoint, its path and what it is for.
const ENDPOINTS: [(Endpoint, &str, &str); 8] = [
    (Endpoint::Index, "/", "this list"),
    (Endpoint::Health, "/healthz", "200 while the process lives"),
    (Endpoint::Readiness, "/readyz", "200 while every worker serves; 503 before that and from the drain on"),
    (Endpoint::Metrics, "/metrics", "metrics in the text format of Prometheus"),
    (Endpoint::Config, "/config", "the configuration in effect, secrets hidden"),
    (Endpoint::Filters, "/filters", "filters: module, digest, generation, calls, faults, time per call"),
    (Endpoint::Upstreams, "/upstreams", "upstreams: endpoints, health, connections; workers"),
    (Endpoint::Reload, "/reload", "reads the configuration and its modules again; 422 when they are refused"),
];

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        ENDPOINTS.iter().find(|(_, at, _)| *at == path).map(|(endpoint, ..)| *endpoint)
    }

    fn methods(self) -> &'static str {
        if self == Self::Reload { "POST" } else { "GET, HEAD" }
    }

    fn allows(self, method: &Method) -> bool {
        if self == Self::Reload { method == Method::POST } else { method == Method::GET || method == Method::HEAD }
    }
}

/// Answers one request.
pub(super) async fn answer(state: &State, method: &Method, path: &str) -> Answer {
    let Some(endpoint) = Endpoint::at(path) else {
        return answer::error(StatusCode::NOT_FOUND, "not-found", "GET / lists what there is");
    };
    if !endpoint.allows(method) {
        return answer::method_not_allowed(endpoint.methods());
    }
    match endpoint {
        Endpoint::Index => answer::document(&index()),
        Endpoint::Health => answer::document(&json!({ "status": "alive" })),
        Endpoint::Readiness => readiness(state),
        Endpoint::Metrics => answer::metrics(observe::recorder().render()),
        Endpoint::Config => answer::document(&config::effective(&state.snapshot().config)),
        Endpoint::Filters => answer::document(&state::filters(state)),
        Endpoint::Upstreams => answer::document(&state::upstreams(state)),
        Endpoint::Reload => reload(state).await,
    }
}

fn index() -> Value {
    let endpoint = |(endpoint, path, about): &(Endpoint, &str, &str)| json!({ "methods": endpoint.methods(), "path": path, "about": about });
    json!({ "meshup": env!("CARGO_PKG_VERSION"), "endpoints": ENDPOINTS.iter().map(endpoint).collect::<Value>() })
}

fn readiness(state: &State) -> Answer {
    let generation = state.snapshot().generation;
    let (code, status) = if state.drain.is_announced() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if state.reports.all().iter().all(|worker| worker.generation > 0) {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting")
    };
    answer::with_status(code, &json!({ "status": status, "generation": generation }))
}

fn refused(state: &State, diagnostics: &Diagnostics) -> Answer {
    let mut document = state::refusal(diagnostics);
    document.insert("generation".into(), state.snapshot().generation.into());
    document.insert("result".into(), "error".into());
    answer::with_status(StatusCode::UNPROCESSABLE_ENTITY, &document.into())
}

/// Waits for the workers to take the generation up, so that whoever asked for the reload finds it in service. In a drain
/// they no longer do.
async fn every_worker_serves(state: &State, generation: u64) {
    let deadline = Instant::now() + ADOPTION_TIMEOUT;
    let adopted = || state.reports.all().iter().all(|worker| worker.generation >= generation);
    while !adopted() && Instant::now() < deadline && !state.drain.is_announced() {
        tokio::time::sleep(ADOPTION_POLL).await;
    }
}

async fn reload(state: &State) -> Answer {
    let Some(outcome) = state.reload.reload(Trigger::Admin).await else {
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, "ending", "the process is ending");
    };
    let (generation, result) = match outcome {
        Ok(Reloaded::Generation(generation)) => (generation, "ok"),
        Ok(Reloaded::Unchanged(generation)) => (generation, "unchanged"),
        Err(diagnostics) => return refused(state, &diagnostics),
    };
    every_worker_serves(state, generation).await;
    answer::document(&json!({ "generation": generation, "result": result }))
}
