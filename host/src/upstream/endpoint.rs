//! One endpoint of an upstream: its connections, how busy it is, whether it answers.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use meshup_abi::ErrorKind;

use super::{Answer, Connector, Outgoing, http1, http2};
use crate::config::{self, Protocol};

/// For how long an endpoint that refused a connection is passed over.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// What makes two endpoints one: generations that agree on it share the pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EndpointKey {
    pub address: SocketAddr,
    /// The configured name that the address stands for: it is what the peer must prove to be where it proves anything.
    pub name: Option<Arc<str>>,
    pub settings: Settings,
}

/// How connections to an endpoint are made and kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    pub protocol: Protocol,
    pub tls: Option<Connector>,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    /// Of the whole process; a worker uses its share.
    pub max_connections: usize,
}

impl Settings {
    /// Those of an upstream, with its TLS.
    pub(crate) fn new(config: &config::Upstream, tls: Option<Connector>) -> Self {
        Self {
            protocol: config.protocol,
            tls,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            max_connections: config.max_connections,
        }
    }
}

/// One endpoint, as one worker uses it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub key: EndpointKey,
    pool: Pool,
    /// Exchanges under way.
    active: Cell<usize>,
    failing_until: Cell<Option<Instant>>,
    last_failure: RefCell<Option<String>>,
}

#[derive(Debug)]
enum Pool {
    Http1(Rc<http1::Pool>),
    Http2(Rc<http2::Pool>),
}

impl Endpoint {
    /// An endpoint without connections, of one of `workers` workers.
    pub(crate) fn new(key: EndpointKey, workers: usize) -> Self {
        let share = key.settings.max_connections.div_ceil(workers.max(1)).max(1);
        let pool = match key.settings.protocol {
            Protocol::Http1 => Pool::Http1(http1::Pool::new(key.clone(), share)),
            Protocol::Http2 => Pool::Http2(http2::Pool::new(key.clone(), share)),
        };
        Self { key, pool, active: Cell::new(0), failing_until: Cell::new(None), last_failure: RefCell::new(None) }
    }

    /// Exchanges under way.
    pub(crate) fn active(&self) -> usize {
        self.active.get()
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        match &self.pool {
            Pool::Http1(pool) => pool.connections(),
            Pool::Http2(pool) => pool.connections(),
        }
    }

    /// Whether it refused a connection a moment ago.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing_until.get().is_some_and(|until| Instant::now() < until)
    }

    /// Why the last connection failed, until one succeeds.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.last_failure.borrow().clone()
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn close_idle(&self) {
        match &self.pool {
            Pool::Http1(pool) => pool.close_idle(),
            Pool::Http2(pool) => pool.close_idle(),
        }
    }

    /// Sends one request and waits for the head of its response.
    ///
    /// # Errors
    /// No connection, or it broke, or the answer was not HTTP. A request that is still in its place was not sent.
    pub(crate) async fn send(self: &Rc<Self>, request: &mut Outgoing) -> Result<Answer, ErrorKind> {
        let busy = Busy::new(self.clone());
        let answer = match &self.pool {
            Pool::Http1(pool) => pool.send(request, busy).await,
            Pool::Http2(pool) => pool.send(request, busy).await,
        };
        if let Err(ErrorKind::ConnectFailure) = &answer {
            self.failing_until.set(Some(Instant::now() + FAILURE_PAUSE));
        } else if self.failing_until.get().is_some() && answer.is_ok() {
            self.failing_until.set(None);
            *self.last_failure.borrow_mut() = None;
        }
        answer
    }

    /// Takes an idle HTTP/1.1 connection and gives it back, for the micro-benchmarks; false when there is none.
    #[cfg(feature = "bench")]
    pub(crate) fn take_and_give_back(self: &Rc<Self>) -> bool {
        let Pool::Http1(pool) = &self.pool else { return false };
        pool.take_and_give_back()
    }

    /// Notes why a connection could not be made.
    pub(super) fn note_failure(&self, error: &std::io::Error) {
        if self.failing_until.get().is_none() {
            tracing::warn!(endpoint = %self.key.address, %error, "cannot connect");
        }
        *self.last_failure.borrow_mut() = Some(error.to_string());
    }
}

impl Drop for Endpoint {
    /// An idle connection holds its pool, which holds the connection: they would outlive every generation.
    fn drop(&mut self) {
        if let Pool::Http1(pool) = &self.pool {
            pool.close();
        }
    }
}

/// Counts one exchange of an endpoint while it lasts.
#[derive(Debug)]
pub(super) struct Busy(Rc<Endpoint>);

impl Busy {
    fn new(endpoint: Rc<Endpoint>) -> Self {
        endpoint.active.set(endpoint.active.get() + 1);
        Self(endpoint)
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}
