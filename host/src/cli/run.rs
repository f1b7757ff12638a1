//! `meshup run`: the proxy until a signal ends it.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{RunProxy, notify::ServiceManager};
use crate::{
    App, Options, Source, StartError,
    observe::{self, LogFormat, init_logging},
    wasm::Compiler,
};

/// `timeout` and other supervisors signal a process and then its group: one wish that arrives twice. A wish of its own is
/// given later than this.
const ECHO: Duration = Duration::from_millis(100);

pub(super) fn run(args: &RunProxy) -> anyhow::Result<ExitCode> {
    init_logging(LogFormat::detect());
    raise_descriptor_limit();
    let source = Source::File(args.file.config.clone());
    let cache_dir = args.cache_dir.clone().or_else(default_cache_dir);
    serve(Options { source, cache_dir, compiler: Compiler::this_program(), watch_files: true }, |_| Ok(()))
}

/// As many descriptors as the process may have at all: shells and containers often begin with 1,024, and an exchange takes
/// two. Where the system refuses, fewer connections are taken.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Serves until SIGTERM or SIGINT, then drains; a second one ends the process at once. `started` is called when the
/// listeners are open.
pub(super) fn serve(options: Options, started: impl FnOnce(&App) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let app = match App::start(options) {
            Ok(app) => app,
            Err(StartError::Config(faults) | StartError::Admin(faults)) => {
                eprintln!("{faults}");
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        };
        for (name, address) in app.listeners() {
            tracing::info!(listener = &*name, %address, "listening");
        }
        tracing::info!(address = %app.admin(), "admin listening");
        started(&app)?;
        let manager = ServiceManager::from_environment();
        manager.ready("serving");
        signals.until_the_end(&app, &manager).await;
        tracing::info!("draining");
        manager.stopping();
        tokio::select! {
            () = app.drain() => {
                tracing::info!("drained");
                Ok(ExitCode::SUCCESS)
            }
            () = signals.ended() => {
                tracing::warn!("ended at once by a second signal");
                Ok(ExitCode::FAILURE)
            }
        }
    });
    observe::finish_logging();
    ended
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Until SIGTERM or SIGINT; SIGHUP reloads.
    async fn until_the_end(&mut self, app: &App, manager: &ServiceManager) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(app, manager.clone()),
            }
        }
    }

    /// Until a second SIGTERM or SIGINT that is not an echo of the first.
    async fn ended(&mut self) {
        let began = Instant::now();
        while began.elapsed() < ECHO {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        }
    }
}

/// Asks for a reload; signals are heard meanwhile.
fn reload(app: &App, manager: ServiceManager) {
    manager.reloading();
    let reloaded = app.reload();
    tokio::spawn(async move {
        let refused = "serving; the last reload was refused";
        manager.ready(if reloaded.await { "serving" } else { refused });
    });
}

/// `$XDG_CACHE_HOME/meshup`, else `~/.cache/meshup`.
pub(super) fn default_cache_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|dir| dir.join("meshup"))
}
