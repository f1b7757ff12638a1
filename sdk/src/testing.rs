//! Running a filter in `cargo test`: no wasm, no proxy, no waiting.
//!
//! A [`Tester`] configures the filter and gives it requests; the test says what is behind it. Events and answers go
//! through the same messages as in the proxy, so a test exercises all of the SDK. Time is virtual: a sleep returns at
//! once and is recorded, a [`Reply`] can be late.
//!
//! It does not test the proxy: routing, connections and limits are the host's.
//!
//! **Invariant:** two runs of a test see the same times, random numbers and order of events.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn authenticate(req: Request, next: Next) -> Response {
//!     match req.headers().get("x-api-key") {
//!         Some("s3cret") => next.pass(req),
//!         _ => (401, "who are you?").into_response(),
//!     }
//! }
//!
//! let mut tester = testing::filter(authenticate);
//!
//! let known = Request::get("/").with_header("x-api-key", "s3cret");
//! let done = tester.run(known, |_| Response::new(200));
//! assert_eq!((done.status(), done.sent.len()), (200, 1));
//!
//! let done = tester.run(Request::get("/"), |_| Response::new(200));
//! assert_eq!((done.status(), done.text(), done.sent.len()), (401, "who are you?", 0));
//! ```

mod drive;
mod messages;
mod reply;

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use meshup_abi::{Attribute, Level, Outcome, tag};
pub use messages::{Finished, SentRequest};
pub use reply::Reply;
pub use serde_json::json;

use crate::{
    filter::Filter,
    host::native::{self, World},
    instance::{self, Instance},
    request::Request,
    response::Response,
    wire,
};

/// A filter under test.
#[must_use]
pub fn filter<F: Filter<K>, K: 'static>(filter: F) -> Tester {
    Tester {
        filter: Guest::New(Box::new(|message| instance::configure(filter, message))),
        config: json!({}),
        world: Rc::new(RefCell::new(world())),
        on_fetch: Box::new(|_, _| Reply::error(meshup_abi::ErrorKind::NoUpstream)),
        replayable: true,
        outcome: Outcome::Complete,
    }
}

/// A filter with its simulated host: clock, state, metrics and logs last from one exchange to the next.
pub struct Tester {
    filter: Guest,
    config: serde_json::Value,
    world: Rc<RefCell<World>>,
    on_fetch: OnFetch,
    replayable: bool,
    outcome: Outcome,
}

type OnFetch = Box<dyn FnMut(&str, &SentRequest) -> Reply>;
type Configure = Box<dyn FnOnce(&[u8]) -> Result<Box<dyn Instance>, String>>;

enum Guest {
    New(Configure),
    Configured(Box<dyn Instance>),
    Refused(String),
}

/// One log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// What it says.
    pub text: String,
}

impl Tester {
    /// The filter's configuration, as `config` holds it in the proxy's file: `json!({ ... })` or anything that
    /// serializes to the same.
    ///
    /// # Panics
    /// When it cannot be written as JSON.
    #[must_use]
    pub fn config(mut self, config: impl serde::Serialize) -> Self {
        self.config = serde_json::to_value(config).expect("a configuration is JSON");
        self
    }

    /// Sets an attribute of the exchanges.
    #[must_use]
    pub fn attribute(self, attribute: Attribute, value: impl AsRef<[u8]>) -> Self {
        self.set_attribute(attribute, value.as_ref());
        self
    }

    /// What [`fetch`](crate::fetch()) brings, by upstream and request. Without it every fetch fails.
    #[must_use]
    pub fn on_fetch<R: Into<Reply>>(mut self, mut reply: impl FnMut(&str, &SentRequest) -> R + 'static) -> Self {
        self.on_fetch = Box::new(move |upstream, sent| reply(upstream, sent).into());
        self
    }

    /// From now on request bodies are too large to replay: a second run of one with a body fails.
    #[must_use]
    pub fn without_replay(mut self) -> Self {
        self.replayable = false;
        self
    }

    /// How the exchanges end, for `on_end`.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Configures the filter now instead of with the first request.
    ///
    /// # Errors
    /// Why the filter refuses its configuration, as the proxy reports it.
    pub fn configure(&mut self) -> Result<(), String> {
        self.instance().map(drop)
    }

    /// Runs one exchange; `next` is what is behind the filter, asked once per run.
    ///
    /// # Panics
    /// When the filter refuses its configuration, panics, or answers what the proxy would take for a fault.
    #[allow(clippy::needless_pass_by_value, reason = "a test writes the request in place, as a filter gets it")]
    pub fn run<R: Into<Reply>>(&mut self, req: Request, mut next: impl FnMut(&SentRequest) -> R) -> Finished {
        if let Err(reason) = self.configure() {
            panic!("the filter refuses its configuration: {reason}");
        }
        self.world.borrow_mut().variables.clear();
        drive::exchange(self, &req, &mut |sent| next(sent).into())
    }

    /// Lets time pass.
    pub fn advance(&mut self, duration: Duration) {
        self.world.borrow_mut().now += duration;
    }

    /// Every log line so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        let world = self.world.borrow();
        world.logs.iter().map(|(level, text)| LogLine { level: *level, text: text.clone() }).collect()
    }

    /// What a metric series holds: the value of a counter or gauge, every value of a histogram; empty when nothing was
    /// recorded. Labels stand in the order of the metric's.
    #[must_use]
    pub fn metric<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> Vec<f64> {
        let world = self.world.borrow();
        let matches = |series: &&native::Series| {
            series.name == name && series.labels.iter().map(|(label, value)| (&**label, &**value)).eq(labels)
        };
        world.series.iter().find(matches).map(|series| series.values.clone()).unwrap_or_default()
    }

    /// A variable that the filter left in the latest exchange.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        let world = self.world.borrow();
        world.variables.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// A value of the shared state.
    #[must_use]
    pub fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.world.borrow().stored(key).map(<[u8]>::to_vec)
    }

    /// Puts a value into the shared state, as another worker would.
    pub fn set_state(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.world.borrow_mut().store(key, value.as_ref(), 0);
    }

    fn set_attribute(&self, attribute: Attribute, value: &[u8]) {
        self.world.borrow_mut().attributes.insert(attribute.code(), value.to_vec());
    }

    fn instance(&mut self) -> Result<&mut dyn Instance, String> {
        if let Guest::New(_) = self.filter {
            self.make_instance();
        }
        match &mut self.filter {
            Guest::Configured(instance) => Ok(&mut **instance),
            Guest::Refused(reason) => Err(reason.clone()),
            Guest::New(_) => Err("not configured".to_owned()),
        }
    }

    fn make_instance(&mut self) {
        let Guest::New(configure) = std::mem::replace(&mut self.filter, Guest::Refused(String::new())) else { return };
        let mut message = Vec::new();
        wire::put_bytes(&mut message, tag::NAME, b"filter-under-test");
        wire::put_bytes(&mut message, tag::CONFIG, self.config.to_string().as_bytes());
        native::enter(&self.world);
        self.world.borrow_mut().in_exchange = false;
        let configured = configure(&message);
        self.world.borrow_mut().in_exchange = true;
        self.filter = configured.map_or_else(Guest::Refused, Guest::Configured);
    }
}

impl fmt::Debug for Tester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tester").field("config", &self.config).field("world", &self.world).finish_non_exhaustive()
    }
}

/// Responses one after another, one per run; the last is repeated.
///
/// ```
/// use meshup_sdk::{prelude::*, testing};
///
/// async fn again(req: Request, next: Next) -> Response {
///     next.run(&req).await;
///     next.run(&req).await
/// }
///
/// let done = testing::filter(again).run(Request::get("/"), testing::statuses([503, 200]));
/// assert_eq!(done.status(), 200);
/// ```
pub fn statuses<const N: usize>(statuses: [u16; N]) -> impl FnMut(&SentRequest) -> Response {
    let mut given = 0;
    move |_| {
        let status = statuses.get(given).or(statuses.last()).copied().unwrap_or(200);
        given += 1;
        Response::new(status)
    }
}

fn world() -> World {
    let mut world = World::default();
    for (attribute, value) in [
        (Attribute::ClientAddress, "192.0.2.1"),
        (Attribute::ClientPort, "40000"),
        (Attribute::ServerAddress, "192.0.2.2:8080"),
        (Attribute::Listener, "http"),
        (Attribute::Route, "test"),
        (Attribute::Upstream, "test"),
        (Attribute::RequestId, "test-request"),
        (Attribute::Protocol, "HTTP/1.1"),
        (Attribute::Generation, "1"),
    ] {
        world.attributes.insert(attribute.code(), value.as_bytes().to_vec());
    }
    world
}
