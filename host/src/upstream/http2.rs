//! HTTP/2 connections to one endpoint: few, shared by many exchanges.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use http::{
    Request, Response, Uri, Version,
    header::HOST,
    uri::{Parts, Scheme},
};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http2::{Builder, SendRequest},
    },
};
use hyper_util::rt::{TokioIo, TokioTimer};
use meshup_abi::ErrorKind;
use tokio::sync::Semaphore;

use super::{
    Answer, EndpointKey, Outgoing,
    answer::{AnswerBody, Carrier},
    connect,
    endpoint::Busy,
    unprocessed::{Spare, is_unprocessed},
};
use crate::{
    body::{RequestBody, RequestSource},
    cause,
    coarse::Moment,
    cork::{Corked, Turning, Turns},
    exchange::is_framed_once,
    transport::Transport,
};

/// Beyond it another connection is made; RFC 9113 section 6.5.2 recommends that peers allow no fewer.
const STREAMS_PER_CONNECTION: usize = 100;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    key: EndpointKey,
    max_connections: usize,
    connections: RefCell<Vec<Connection>>,
    /// One connection is made at a time; those who wait for it use it.
    connecting: Semaphore,
}

#[derive(Debug, Clone)]
struct Connection {
    sender: SendRequest<RequestBody>,
    streams: Rc<Streams>,
}

/// Why there is no response, perhaps with the request.
type Unsent = TrySendError<Request<RequestBody>>;

/// A request that is being sent.
struct Sent<F> {
    response: F,
    spare: Option<Spare>,
}

/// How busy a connection is.
#[derive(Debug)]
struct Streams {
    active: Cell<usize>,
    idle_since: Cell<Moment>,
}

/// One stream of a connection, counted while it lasts.
#[derive(Debug)]
pub(super) struct Stream(Rc<Streams>);

impl Stream {
    fn open(streams: &Rc<Streams>) -> Self {
        streams.active.set(streams.active.get() + 1);
        Self(streams.clone())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.idle_since.set(Moment::now());
    }
}

impl Pool {
    pub(super) fn new(key: EndpointKey, max_connections: usize) -> Rc<Self> {
        Rc::new(Self { key, max_connections, connections: RefCell::default(), connecting: Semaphore::new(1) })
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    pub(super) fn close_idle(&self) {
        let timeout = self.key.settings.idle_timeout;
        self.connections.borrow_mut().retain(|connection| {
            let idle = connection.streams.active.get() == 0 && connection.streams.idle_since.get().elapsed() >= timeout;
            !connection.sender.is_closed() && !idle
        });
    }

    /// Sends a request as a stream of a connection that has room for it. A request that the connection did not take
    /// (it was closing), or that the upstream did not process by its own word, goes to another connection, once.
    pub(super) async fn send(self: &Rc<Self>, outgoing: &mut Outgoing, busy: Busy) -> Result<Answer, ErrorKind> {
        let source = outgoing.as_ref().and_then(|request| request.body().source());
        let mut before: Option<Rc<Streams>> = None;
        loop {
            let mut connection = match self.with_room(before.as_ref()) {
                Some(connection) => connection,
                // Boxed: most requests find a connection, and all would have the room for making one.
                None => Box::pin(self.connection(&busy, before.as_ref())).await?,
            };
            let Sent { response, spare } = self.begin(&mut connection, outgoing, before.is_none())?;
            let stream = Stream::open(&connection.streams);
            let mut error = match response.await {
                // Its frames bound the body, so that nobody looked at this: a client of HTTP/1.1 goes by it.
                Ok(response) if !is_framed_once(response.headers()) => return Err(ErrorKind::BadResponse),
                Ok(response) => {
                    let carrier = |incoming| Carrier::Http2 { incoming, _counted: stream };
                    return Ok(response.map(|incoming| AnswerBody::new(carrier(incoming), busy)));
                }
                Err(error) => error,
            };
            *outgoing = error.take_message();
            if outgoing.is_none() && is_unprocessed(error.error()) {
                *outgoing = spare.and_then(Spare::request);
            }
            if before.is_some() || outgoing.is_none() {
                return Err(error_kind(error.error(), source.as_ref()));
            }
            before = Some(connection.streams);
        }
    }

    /// Begins to send a request out of its place, with a spare of it if it `may_be_sent_again`. Not async: a request that an
    /// async function borrows stays in its state.
    fn begin(
        &self,
        connection: &mut Connection,
        outgoing: &mut Outgoing,
        may_be_sent_again: bool,
    ) -> Result<Sent<impl Future<Output = Result<Response<Incoming>, Unsent>> + use<>>, ErrorKind> {
        let mut request = outgoing.take().ok_or(ErrorKind::Reset)?;
        to_http2(&mut request, self.scheme())?;
        let spare = may_be_sent_again.then(|| Spare::of(&request));
        Ok(Sent { response: connection.sender.try_send_request(request), spare })
    }

    fn scheme(&self) -> Scheme {
        if self.key.settings.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// A connection once one has room or one more is made, another one than `before` where there may be one.
    async fn connection(self: &Rc<Self>, busy: &Busy, before: Option<&Rc<Streams>>) -> Result<Connection, ErrorKind> {
        let _one = self.connecting.acquire().await.map_err(|_| ErrorKind::ConnectFailure)?;
        match self.with_room(before) {
            Some(connection) => Ok(connection),
            None => self.open(busy).await,
        }
    }

    /// An open connection with room for a stream; the least busy one when no more connections may be made.
    fn with_room(&self, before: Option<&Rc<Streams>>) -> Option<Connection> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed());
        let is_before =
            |connection: &Connection| before.is_some_and(|streams| Rc::ptr_eq(streams, &connection.streams));
        let active = |connection: &Connection| connection.streams.active.get();
        let free =
            connections.iter().find(|connection| active(connection) < STREAMS_PER_CONNECTION && !is_before(connection));
        let full = connections.len() >= self.max_connections;
        let least = || connections.iter().min_by_key(|connection| (is_before(connection), active(connection)));
        free.or_else(|| least().filter(|_| full)).cloned()
    }

    async fn open(self: &Rc<Self>, busy: &Busy) -> Result<Connection, ErrorKind> {
        let opened = async {
            let stream = Corked::new(connect::connect(&self.key).await?);
            let handshake = Builder::new(Tasks { turns: stream.turns() })
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .handshake(TokioIo::new(stream));
            handshake.await.map_err(std::io::Error::other)
        };
        let (sender, connection) = opened.await.map_err(|error| {
            busy.endpoint().note_failure(&error);
            ErrorKind::ConnectFailure
        })?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        let streams = Rc::new(Streams { active: Cell::new(0), idle_since: Cell::new(Moment::now()) });
        let connection = Connection { sender, streams };
        self.connections.borrow_mut().push(connection.clone());
        Ok(connection)
    }
}

/// Runs the tasks of one connection. One of them writes to it; the library does not tell which.
#[derive(Debug, Clone)]
struct Tasks {
    turns: Turns<Transport>,
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Tasks
where
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        // Boxed: the library's type has room for the whole connection, also for a request's small tasks, and a task is moved
        // six times.
        tokio::task::spawn_local(Turning::new(Box::pin(task), self.turns.clone(), |_sent| ()));
    }
}

/// Gives the request the form of HTTP/2: authority in the target instead of a `host` header.
fn to_http2(request: &mut Request<RequestBody>, scheme: Scheme) -> Result<(), ErrorKind> {
    if request.version() == Version::HTTP_2 && request.uri().authority().is_some() {
        return Ok(());
    }
    let host = request.headers_mut().remove(HOST);
    let mut parts = Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = host.and_then(|host| host.as_bytes().try_into().ok());
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| ErrorKind::BadRequest)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}

/// What a failure of an HTTP/2 connection means for the exchange on it.
fn error_kind(error: &hyper::Error, source: Option<&Rc<RequestSource>>) -> ErrorKind {
    match source.and_then(|source| source.failure()) {
        Some(failure) => failure.kind(),
        None if is_violation(error) => ErrorKind::BadResponse,
        None => ErrorKind::Reset,
    }
}

/// Whether our side ended the stream or the connection because of what the peer sent.
fn is_violation(error: &hyper::Error) -> bool {
    cause::of::<h2::Error>(error).is_some_and(|error| error.is_library() && (error.is_go_away() || error.is_reset()))
}
