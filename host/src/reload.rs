//! From a configuration to the next generation: build all of it aside, then swap, or change nothing.
//!
//! **Invariant:** workers only ever see a snapshot whose every filter was loaded and configured, and whose every
//! listener is bound.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::{oneshot, watch};

mod build;
mod files;
mod filters;
mod modules;
mod tls;

pub(crate) use build::Builder;
pub(crate) use files::Watch;
pub(crate) use filters::{check, read};

use crate::{
    config::{self, Config, Diagnostics, Locations, Rejected},
    observe,
    snapshot::Snapshot,
};
use files::Fingerprint;

/// After a change on disk, this much quiet means that the writer is done.
const QUIET: Duration = Duration::from_millis(50);
/// A writer that never pauses is not waited for longer than this.
const MAX_WAIT: Duration = Duration::from_millis(250);
/// A changed file that cannot be used may be half written: it gets this long before anyone hears of it.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file, read again at every reload.
    File(PathBuf),
    /// A text; relative module paths begin at the current folder.
    Text(String),
}

impl Source {
    fn read(&self) -> Result<(Config, Locations), Box<Rejected>> {
        match self {
            Self::File(path) => config::read_whole(path),
            Self::Text(text) => config::parse_whole(text, "(built in)".as_ref()),
        }
    }
}

/// Why a reload is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A watched file changed.
    Files,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Admin,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Signal => "signal",
            Self::Admin => "admin",
        }
    }
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// This generation is in service now.
    Generation(u64),
    /// Nothing differs from what is in service.
    Unchanged(u64),
}

/// The last reload that failed since one succeeded.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub at: SystemTime,
    pub diagnostics: Arc<Diagnostics>,
}

type Answer = Result<Reloaded, Arc<Diagnostics>>;

#[derive(Debug)]
enum Message {
    Reload(Trigger, oneshot::Sender<Answer>),
    Changed,
}

/// Asks for reloads, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct ReloadHandle {
    /// The thread ends with the last of these.
    messages: Arc<mpsc::Sender<Message>>,
    failure: Arc<Mutex<Option<Failure>>>,
}

impl ReloadHandle {
    /// Asks for a reload at once; the future waits for what comes of it, `None` when the process is ending.
    pub(crate) fn reload(&self, trigger: Trigger) -> impl Future<Output = Option<Answer>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        // Without a thread to take it, `answer` is an error.
        let _ = self.messages.send(Message::Reload(trigger, reply));
        async { answer.await.ok() }
    }

    /// The last failure since a reload succeeded.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A watched file changed. The watch belongs to the thread, so it must not keep it alive.
fn changed(messages: &Weak<mpsc::Sender<Message>>) {
    if let Some(messages) = messages.upgrade() {
        let _ = messages.send(Message::Changed);
    }
}

/// The thread that builds generations.
pub(crate) struct Reloader {
    source: Source,
    builder: Builder,
    current: Arc<Snapshot>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    watch: Option<Watch>,
    failure: Arc<Mutex<Option<Failure>>>,
    /// What the files looked like when the last attempt began, before it read them.
    seen: Fingerprint,
    /// The last configuration that could be read, in service or refused: its files are the ones to watch.
    wanted: Arc<Config>,
}

impl Reloader {
    /// Starts the thread. `watch_files` makes it reload by itself when a file changes.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(
        source: Source,
        builder: Builder,
        snapshots: watch::Sender<Arc<Snapshot>>,
        watch_files: bool,
    ) -> std::io::Result<ReloadHandle> {
        let (messages, inbox) = mpsc::channel();
        let failure = Arc::new(Mutex::new(None));
        let messages = Arc::new(messages);
        let weak = Arc::downgrade(&messages);
        let handle = ReloadHandle { messages, failure: failure.clone() };
        let current = snapshots.borrow().clone();
        let watch = watch_files.then(|| Watch::start(move || changed(&weak))).flatten();
        let seen = Fingerprint::of(&source, &current.config);
        let wanted = current.config.clone();
        let mut reloader = Self { source, builder, current, snapshots, watch, failure, seen, wanted };
        reloader.watch_files();
        std::thread::Builder::new().name("meshup-reload".into()).spawn(move || reloader.run(&inbox))?;
        Ok(handle)
    }

    fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Reload(trigger, reply) => drop(reply.send(self.reload(trigger))),
                Message::Changed => self.files_changed(inbox),
            }
        }
    }

    /// Something changed where the files are: once it is quiet there, and if it was one of ours, reload. Requests that
    /// come meanwhile are answered by that reload's successor.
    fn files_changed(&mut self, inbox: &mpsc::Receiver<Message>) {
        let began = std::time::Instant::now();
        while began.elapsed() < MAX_WAIT {
            match inbox.recv_timeout(QUIET) {
                Ok(Message::Changed) => {}
                Ok(Message::Reload(trigger, reply)) => drop(reply.send(self.reload(trigger))),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        // A folder that was not there before may be now.
        self.watch_files();
        if self.fingerprint() == self.seen {
            return;
        }
        if self.attempt().is_err() {
            std::thread::sleep(SECOND_LOOK);
        } else {
            return;
        }
        let _ = self.reload(Trigger::Files);
    }

    /// Reloads and reports.
    fn reload(&mut self, trigger: Trigger) -> Answer {
        let answer = self.attempt().map_err(Arc::new);
        let failure = answer
            .as_ref()
            .err()
            .map(|diagnostics| Failure { at: SystemTime::now(), diagnostics: diagnostics.clone() });
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        let trigger = trigger.as_str();
        match &answer {
            Ok(Reloaded::Unchanged(generation)) => tracing::info!(trigger, generation, "reload: nothing changed"),
            Ok(Reloaded::Generation(_)) => {}
            Err(diagnostics) => {
                observe::count_reload("error");
                let generation = self.current.generation;
                tracing::error!(trigger, generation, "reload refused, the generation stays in service:\n{diagnostics}");
            }
        }
        answer
    }

    /// Builds the next generation and swaps it in.
    fn attempt(&mut self) -> Result<Reloaded, Diagnostics> {
        self.seen = self.fingerprint();
        let (config, locations) = read(&self.builder.runtime, &self.source, Some(&self.current))?;
        // Looked at before the modules are read: what changes during the build is built next.
        self.seen = Fingerprint::of(&self.source, &config).backdated(&self.seen);
        self.wanted = Arc::new(config.clone());
        self.watch_files();
        let built = self.builder.build(config, &locations, Some(&self.current))?;
        let Some(snapshot) = built else {
            observe::count_reload("unchanged");
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Ok(Reloaded::Unchanged(self.current.generation));
        };
        let generation = snapshot.generation;
        self.current = Arc::new(snapshot);
        self.snapshots.send_replace(self.current.clone());
        observe::count_reload("ok");
        observe::set_generation(generation);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tracing::info!(generation, "generation in service");
        Ok(Reloaded::Generation(generation))
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.source, &self.wanted)
    }

    fn watch_files(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.follow(&self.source, &self.wanted);
        }
    }
}
