//! What workers tell about themselves, once a second, for the admin listener.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// One worker's state at its last tick.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkerReport {
    /// The generation that its new exchanges begin with.
    pub generation: u64,
    /// Client connections.
    pub connections: usize,
    pub endpoints: Vec<EndpointReport>,
}

/// One endpoint as one worker sees it.
#[derive(Debug, Clone)]
pub(crate) struct EndpointReport {
    pub upstream: Arc<str>,
    pub address: SocketAddr,
    /// Open connections.
    pub connections: usize,
    /// Exchanges under way.
    pub active: usize,
    /// Whether it refused a connection a moment ago.
    pub failing: bool,
    pub last_failure: Option<String>,
}

/// The last report of every worker.
#[derive(Debug, Clone)]
pub(crate) struct Reports(Arc<Mutex<Vec<WorkerReport>>>);

impl Reports {
    pub(crate) fn new(workers: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![WorkerReport::default(); workers])))
    }

    /// Replaces the report of worker `index`.
    pub(crate) fn publish(&self, index: usize, report: WorkerReport) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = reports.get_mut(index) {
            *slot = report;
        }
    }

    /// The reports, by worker.
    pub(crate) fn all(&self) -> Vec<WorkerReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
