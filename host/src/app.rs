//! A whole proxy: the one place that wires the parts together.
//!
//! **Invariant:** when [`App::start`] returns, every listener is bound and every filter is configured.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::watch;

use crate::{
    admin::{Admin, AdminListener, State},
    config::{Diagnostics, Locations},
    drain::{Drain, Draining},
    observe,
    reload::{self, Builder, ReloadHandle, Reloader, Source, Trigger},
    snapshot::Snapshot,
    wasm::{Compiler, Runtime, RuntimeError, RuntimeOptions},
    worker::{self, Reports, WorkerInput},
};

/// How a proxy is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the configuration comes from.
    pub source: Source,
    /// Where compiled filters are kept between starts; nowhere when none.
    pub cache_dir: Option<PathBuf>,
    /// Where filters are compiled.
    pub compiler: Compiler,
    /// Reload when a file changes on disk.
    pub watch_files: bool,
}

/// A proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, a filter or a listener.
    #[error("{0}")]
    Config(#[from] Diagnostics),
    /// The WebAssembly engine.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The operating system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The admin listener's address.
    #[error("{0}")]
    Admin(Diagnostics),
}

/// A running proxy. Dropping it stops it without a drain.
#[derive(Debug)]
pub struct App {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reload: ReloadHandle,
    drain: Drain,
    workers: Vec<JoinHandle<()>>,
    /// Ends last: it answers while the workers drain.
    admin: Admin,
}

impl App {
    /// Reads the configuration, compiles and configures the filters, binds the listeners and serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(options: Options) -> Result<Self, StartError> {
        observe::recorder();
        let Options { source, cache_dir, compiler, watch_files } = options;
        let runtime = Runtime::new(RuntimeOptions { cache_dir, compiler, ..RuntimeOptions::default() })?;
        let (config, locations) = reload::read(&runtime, &source, None)?;
        let builder = Builder { runtime, workers: config.workers };
        let Some(snapshot) = builder.build(config, &locations, None)? else {
            unreachable!("a first build always differs from none")
        };
        let admin = bind_admin(&snapshot, &locations)?;
        let snapshot = Arc::new(snapshot);
        observe::set_generation(snapshot.generation);
        let (sender, snapshots) = watch::channel(snapshot);
        let (drain, draining) = Drain::new();
        let reports = Reports::new(builder.workers);
        let workers = start_workers(builder.workers, &snapshots, &draining, &reports).map_err(StartError::Thread)?;
        let reload = Reloader::start(source, builder, sender, watch_files).map_err(StartError::Thread)?;
        let state = State { snapshots: snapshots.clone(), reports, drain: draining, reload: reload.clone() };
        let admin = Admin::start(admin, state).map_err(StartError::Thread)?;
        Ok(Self { snapshots, reload, drain, workers, admin })
    }

    /// The listeners' names and addresses, with the ports that the system chose.
    #[must_use]
    pub fn listeners(&self) -> Vec<(Arc<str>, SocketAddr)> {
        let snapshot = self.snapshots.borrow();
        snapshot.listeners.iter().map(|listener| (listener.settings.name.clone(), listener.local)).collect()
    }

    /// The admin listener's address.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.local()
    }

    /// Asks for a reload, as SIGHUP does. The future, which need not be awaited, says whether the configuration was
    /// taken up; false when it was refused.
    pub fn reload(&self) -> impl Future<Output = bool> + Send + use<> {
        let answer = self.reload.reload(Trigger::Signal);
        async { matches!(answer.await, Some(Ok(_))) }
    }

    /// Drains: readiness fails at once, listeners close after `drain_delay`, and the proxy ends with its last exchange
    /// or at `drain_timeout`.
    pub async fn drain(self) {
        let settings = self.snapshots.borrow().config.drain.clone();
        self.drain.start(settings.delay, settings.timeout).await;
        while self.workers.iter().any(|worker| !worker.is_finished()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn bind_admin(snapshot: &Snapshot, locations: &Locations) -> Result<AdminListener, StartError> {
    let address = snapshot.config.admin.listen;
    AdminListener::bind(address).map_err(|error| {
        let fault = locations.admin.error(format!("admin: cannot listen on {address}: {error}"));
        StartError::Admin(fault.with_help("`listen` of `[admin]` is the address; port 0 lets the system choose").into())
    })
}

fn start_workers(
    workers: usize,
    snapshots: &watch::Receiver<Arc<Snapshot>>,
    drain: &Draining,
    reports: &Reports,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let start = |index| {
        let input = WorkerInput { index, snapshots: snapshots.clone(), drain: drain.clone(), reports: reports.clone() };
        std::thread::Builder::new().name(format!("meshup-worker-{index}")).spawn(move || {
            if let Err(error) = worker::run(input) {
                tracing::error!(%error, "worker cannot start");
            }
        })
    };
    (0..workers).map(start).collect()
}
