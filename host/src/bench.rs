//! What the micro-benchmarks call of the inside, with the feature `bench`, which nobody else turns on.
//!
//! Filters, their instances and modules are public: the benchmarks use those as they are. Routes, pools, balancing,
//! generations and the messages to guests are not, and are no one's business outside of this crate; to measure them over
//! sockets would measure the sockets. So this wraps the few operations that are to be timed, and nothing more.
//!
//! **Invariant:** what is timed is what a request runs: nothing here does any work of its own.

use std::{cell::Cell, rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, header::HOST, request};
use http_body::Body;
use meshup_abi::Event;
use tokio::sync::watch;

use crate::{
    StartError,
    body::RequestBody,
    config::{self, Diagnostics},
    drain::Drain,
    exchange, names, observe,
    reload::Builder,
    snapshot::Snapshot,
    upstream,
    wasm::{Runtime, RuntimeOptions},
    worker::{self, Reports, WorkerInput},
};

/// Writes a request's head as the fields of a message to a filter; gives their length.
#[must_use]
pub fn encode(head: &request::Parts) -> usize {
    exchange::HeadFields::of_request(head, "http").len()
}

/// Reads a filter's answer to an event and makes its changes to the headers.
///
/// # Errors
/// Why the answer is refused.
pub fn apply(event: Event, answer: &[u8], headers: &mut HeaderMap) -> Result<(), String> {
    exchange::apply(event, answer, headers).map_err(|refused| refused.to_string())
}

/// A worker that serves nobody, and two generations that it takes up by turns.
pub struct Worker {
    worker: Rc<worker::Worker>,
    generations: [Arc<Snapshot>; 2],
    taken_up: Cell<usize>,
}

impl Worker {
    /// A worker with the first of two configurations, TOML. Filters that are the same in both are kept when the worker
    /// goes from one to the other.
    ///
    /// # Errors
    /// Those of a start.
    pub fn new(configurations: [&str; 2]) -> Result<Self, StartError> {
        observe::recorder();
        let builder =
            Builder { runtime: Runtime::new(RuntimeOptions::default())?, names: names::Names::new(), workers: 1 };
        let first = build(&builder, configurations[0], None)?;
        let second = build(&builder, configurations[1], Some(&first))?;
        let (_, snapshots) = watch::channel(first.clone());
        let (_, drain) = Drain::new();
        let input =
            WorkerInput { index: 0, snapshots, names: builder.names.changes(), drain, reports: Reports::new(1) };
        let worker = worker::Worker::new(&input, first.clone());
        Ok(Self { worker, generations: [first, second], taken_up: Cell::new(0) })
    }

    /// Takes up the other generation, as after a reload.
    pub fn take_up_other(&self) {
        let other = 1 - self.taken_up.get();
        self.taken_up.set(other);
        let [first, second] = &self.generations;
        self.worker.adopt(if other == 0 { first.clone() } else { second.clone() });
    }

    /// What every request does first: takes hold of the present generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.worker.generation().number()
    }

    /// Whether a request that came in on `listener` has a route.
    #[must_use]
    pub fn has_route(&self, listener: &Arc<str>, head: &request::Parts) -> bool {
        self.worker.generation().route(listener, head).is_some()
    }

    /// An upstream of the present generation.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<Upstream> {
        let upstream = self.worker.generation().upstream(name)?;
        Some(Upstream { first: upstream.endpoints().first()?.clone(), upstream })
    }
}

/// The generation of a configuration.
fn build(builder: &Builder, text: &str, previous: Option<&Snapshot>) -> Result<Arc<Snapshot>, Diagnostics> {
    let (config, locations) = config::parse(text, "(benchmark)".as_ref())?;
    match builder.build(config, &locations, previous)? {
        Some(snapshot) => Ok(Arc::new(snapshot)),
        None => unreachable!("the two configurations are the same"),
    }
}

/// An upstream as a worker has it.
pub struct Upstream {
    upstream: Rc<upstream::Upstream>,
    first: Rc<upstream::Endpoint>,
}

impl Upstream {
    /// Which endpoint gets the next request.
    #[must_use]
    pub fn pick(&self) -> Option<usize> {
        self.upstream.pick()
    }

    /// Has the upstream answer a request without a body, which leaves a connection in the pool; within a local runtime.
    /// False when that failed.
    pub async fn connect(&self) -> bool {
        let mut request = Request::new(RequestBody::Empty);
        request.headers_mut().insert(HOST, HeaderValue::from_static("bench"));
        match self.upstream.send(&mut Some(request), None, |_| {}).await {
            Err(_) => false,
            Ok(answer) => {
                let ended = answer.body().is_end_stream();
                answer.into_body().finish();
                ended
            }
        }
    }

    /// Takes a connection of the first endpoint out of its pool and gives it back; false when there is none.
    #[must_use]
    pub fn take_and_give_back(&self) -> bool {
        self.first.take_and_give_back()
    }
}
