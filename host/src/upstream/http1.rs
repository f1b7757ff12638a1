//! HTTP/1.1 connections to one endpoint: last in, first out, at most so many.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
};

use http::{HeaderValue, Request, Response, Version, header::TRANSFER_ENCODING};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use meshup_abi::ErrorKind;
use tokio::sync::oneshot;

use super::{
    Answer, EndpointKey, Lease, Outgoing, connect,
    endpoint::{Busy, Hold},
    interim::Interim,
    spare::{Record, Recorded},
};
use crate::{
    body::{RequestBody, RequestSource},
    coarse::Moment,
};

/// What is read of a response at once, and the longest response head: all of it waits where a client is slow.
const READ_BUFFER: usize = 32 * 1024;

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    key: EndpointKey,
    max_connections: usize,
    idle: RefCell<Vec<Idle>>,
    open: Cell<usize>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    slot: Rc<Slot>,
    since: Moment,
}

/// The near end of a connection.
#[derive(Debug)]
struct Sender {
    requests: SendRequest<RequestBody>,
    record: Arc<Record>,
}

impl Sender {
    fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Begins to send a request out of its place. Not async: a request that an async function borrows stays in its state.
    fn begin(
        &mut self,
        outgoing: &mut Outgoing,
    ) -> Option<impl Future<Output = Result<Response<Incoming>, Unsent>> + use<>> {
        let mut request = outgoing.take()?;
        *request.version_mut() = Version::HTTP_11;
        frame(&mut request);
        self.record.begin(&request);
        Some(self.requests.try_send_request(request))
    }
}

/// Why there is no response, perhaps with the request.
type Unsent = TrySendError<Request<RequestBody>>;

/// A connection taken from the pool, or new to it.
#[derive(Debug)]
struct Taken {
    sender: Sender,
    slot: Rc<Slot>,
    reused: bool,
}

impl Taken {
    /// Puts a request that failed back into its place, if it may be sent once more.
    #[cold]
    fn take_back(
        &self,
        mut error: Unsent,
        outgoing: &mut Outgoing,
        source: Option<&Rc<RequestSource>>,
    ) -> Result<(), ErrorKind> {
        let kind = super::error_kind(error.error(), source);
        *outgoing = error.take_message();
        if outgoing.is_none() && self.reused && kind == ErrorKind::Reset {
            *outgoing = self.sender.record.request();
        }
        if self.reused && outgoing.is_some() { Ok(()) } else { Err(kind) }
    }
}

/// A connection that carries an exchange.
#[derive(Debug)]
pub(super) struct Held {
    pool: Rc<Pool>,
    sender: Sender,
    /// After an upgrade it lives longer than hyper's part of the connection.
    slot: Rc<Slot>,
    request: Option<Rc<RequestSource>>,
}

impl Held {
    pub(super) fn give_back(self) {
        let reusable = RequestBody::sent(self.request.as_ref()) && !self.sender.is_closed();
        if reusable {
            self.pool.idle.borrow_mut().push(Idle { sender: self.sender, slot: self.slot, since: Moment::now() });
            self.pool.wake_one();
        }
    }
}

impl Pool {
    pub(super) fn new(key: EndpointKey, max_connections: usize) -> Rc<Self> {
        Rc::new(Self {
            key,
            max_connections,
            idle: RefCell::default(),
            open: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    pub(super) fn connections(&self) -> usize {
        self.open.get()
    }

    pub(super) fn close_idle(&self) {
        let timeout = self.key.settings.idle_timeout;
        self.idle.borrow_mut().retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < timeout);
    }

    /// Closes every idle connection.
    pub(super) fn close(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Sends a request on a pooled or a new connection. A pooled one that turns out to be stale is replaced by a new
    /// one, once, when nothing of the request was sent or sending it twice does no harm.
    pub(super) async fn send(self: &Rc<Self>, outgoing: &mut Outgoing, busy: Busy) -> Result<Answer, ErrorKind> {
        let source = outgoing.as_ref().and_then(|request| request.body().source());
        let mut taken = match self.idle_connection() {
            Some(taken) => taken,
            // Boxed, here and below: most requests find a connection, and all would have the room for making one.
            None => Box::pin(self.connection(&busy)).await?,
        };
        loop {
            let Some(sent) = taken.sender.begin(outgoing) else { return Err(ErrorKind::Reset) };
            match sent.await {
                Ok(response) => {
                    taken.sender.record.end();
                    let held = Held { pool: self.clone(), sender: taken.sender, slot: taken.slot, request: source };
                    return Ok((response, Lease::new(busy, Hold::Connection(held))));
                }
                Err(error) => taken.take_back(error, outgoing, source.as_ref())?,
            }
            taken = Box::pin(self.connection(&busy)).await?;
        }
    }

    /// Takes an idle connection, for the micro-benchmarks.
    #[cfg(feature = "bench")]
    pub(super) fn take(self: &Rc<Self>) -> Option<Held> {
        let Taken { sender, slot, .. } = self.idle_connection()?;
        Some(Held { pool: self.clone(), sender, slot, request: None })
    }

    /// The connection that was used last and is still open.
    fn idle_connection(&self) -> Option<Taken> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { sender, slot, .. }) = idle.pop() {
            if !sender.is_closed() {
                return Some(Taken { sender, slot, reused: true });
            }
        }
        None
    }

    /// A new connection, or one that comes free while the endpoint has as many as it may.
    async fn connection(self: &Rc<Self>, busy: &Busy) -> Result<Taken, ErrorKind> {
        if self.open.get() < self.max_connections {
            return self.open(busy).await;
        }
        let wait = tokio::time::timeout(self.key.settings.connect_timeout, async {
            loop {
                Waiter::new(self).woken().await;
                if let Some(taken) = self.idle_connection() {
                    return Some(taken);
                }
                if self.open.get() < self.max_connections {
                    return None;
                }
            }
        });
        match wait.await {
            Ok(Some(taken)) => Ok(taken),
            Ok(None) => self.open(busy).await,
            Err(_) => Err(ErrorKind::Overloaded),
        }
    }

    async fn open(self: &Rc<Self>, busy: &Busy) -> Result<Taken, ErrorKind> {
        let slot = Rc::new(Slot::take(self));
        let record = Arc::<Record>::default();
        let opened = async {
            let stream = connect::connect(&self.key).await?;
            let io = Recorded::new(TokioIo::new(Interim::over(stream)), record.clone());
            Builder::new().max_buf_size(READ_BUFFER).handshake(io).await.map_err(std::io::Error::other)
        };
        let (requests, connection) = opened.await.map_err(|error| {
            busy.endpoint().note_failure(&error);
            ErrorKind::ConnectFailure
        })?;
        let held = slot.clone();
        tokio::task::spawn_local(async move {
            let _held = held;
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Taken { sender: Sender { requests, record }, slot, reused: false })
    }

    fn wake_one(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(wake) = waiting.pop_front() {
            if wake.send(()).is_ok() {
                return;
            }
        }
    }
}

/// A place in the queue for a connection.
#[derive(Debug)]
struct Waiter<'a> {
    pool: &'a Pool,
    wake: oneshot::Receiver<()>,
}

impl<'a> Waiter<'a> {
    fn new(pool: &'a Pool) -> Self {
        let (sender, wake) = oneshot::channel();
        pool.waiting.borrow_mut().push_back(sender);
        Self { pool, wake }
    }

    async fn woken(mut self) {
        let _ = (&mut self.wake).await;
    }
}

impl Drop for Waiter<'_> {
    /// Whoever is woken but no longer waits lets the next one have the connection.
    fn drop(&mut self) {
        if self.wake.try_recv().is_ok() {
            self.pool.wake_one();
        }
    }
}

/// One of the connections that may be open at a time.
#[derive(Debug)]
struct Slot(Rc<Pool>);

impl Slot {
    fn take(pool: &Rc<Pool>) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self(pool.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.wake_one();
    }
}

/// Announces a body of unknown length: of methods that seldom have one, the client would drop it.
fn frame(request: &mut Request<RequestBody>) {
    let body = request.body();
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}
