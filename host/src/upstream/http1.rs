//! HTTP/1.1 connections to one endpoint: last in, first out, at most so many.
//!
//! Whoever sends a request drives its connection: an answer wakes the exchange, and nothing else. A connection that rests has
//! no task; it is looked at before it is used again, and once per tick.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use meshup_abi::ErrorKind;
use tokio::sync::oneshot;

use super::{
    Answer, EndpointKey, Outgoing,
    answer::{AnswerBody, Carrier},
    connect,
    endpoint::Busy,
};
use crate::{body::RequestBody, coarse::Moment, transport::Transport};

mod decoder;
mod departures;
mod head;
mod incoming;
mod upload;
mod wire;

pub(super) use incoming::{Incoming, ReadError};

use head::{Head, Parsed};
use upload::{SendError, Upload};
use wire::Wire;

/// How many interim responses an endpoint may send for one request.
const MAX_INTERIM: u32 = 32;

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    key: EndpointKey,
    max_connections: usize,
    idle: RefCell<Vec<Idle>>,
    open: Cell<usize>,
    waiting: RefCell<VecDeque<oneshot::Sender<Grant>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Moment,
}

/// An open connection.
#[derive(Debug)]
struct Connection {
    line: Rc<Line>,
    reused: bool,
}

/// A connection's byte stream, and its place among those that may be open. Shared with what sends the rest of a request while
/// its answer is read.
#[derive(Debug)]
pub(super) struct Line {
    wire: RefCell<Wire>,
    slot: Slot,
}

impl Line {
    /// After its endpoint switched protocols: the stream, and what was read of it already.
    pub(super) fn upgraded(&mut self) -> (&mut Transport, Bytes) {
        self.wire.get_mut().upgraded()
    }
}

impl Connection {
    /// Begins to send a request, whose head stays in its place.
    fn begin(&self, request: &mut Request<RequestBody>) -> Sent {
        let upload = Upload::begin(request, &mut self.line.wire.borrow_mut());
        if upload.is_taken() {
            departures::add(&self.line);
        }
        Sent { upload, is_broken: false, interim: 0 }
    }

    /// Sends on, and reads until the head of the answer is there.
    fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        sent: &mut Sent,
        request: &mut HeaderMap,
    ) -> Poll<Result<Head, ErrorKind>> {
        let wire = &mut *self.line.wire.borrow_mut();
        sent.poll(wire, cx)?;
        loop {
            // What came before anything was sent is no answer (RFC 9112 section 9.2).
            if !wire.read.is_empty() && !wire.begun {
                return Poll::Ready(Err(ErrorKind::Reset));
            }
            while !wire.read.is_empty() {
                let head = head::read(&mut wire.read, sent.upload.answers_head, request);
                match head.map_err(|_| ErrorKind::BadResponse)? {
                    Parsed::Final(head) => return Poll::Ready(Ok(head)),
                    Parsed::Interim(status) => sent.heard(status, wire, cx)?,
                    Parsed::Partial => break,
                }
            }
            ready!(poll_line(wire, cx))?;
        }
    }

    /// The head of the answer is there; what is left of the request is sent meanwhile.
    fn answer(self, head: Head, sent: Sent) -> (Response<()>, Incoming) {
        let Head { response, body, keep_alive } = head;
        let Sent { mut upload, is_broken, .. } = sent;
        let line = self.line.clone();
        let rest = (!upload.is_done() && !is_broken).then(|| {
            tokio::task::spawn_local(async move {
                std::future::poll_fn(|cx| upload.poll(&mut line.wire.borrow_mut(), cx)).await
            })
        });
        (response, Incoming::new(self, body, keep_alive && !is_broken, rest))
    }

    /// An exchange on it ended cleanly. One that says more than it was asked is closed.
    fn give_back(mut self) {
        if !self.line.wire.borrow_mut().rest() {
            return;
        }
        self.reused = true;
        let pool = self.line.slot.0.clone();
        match pool.first_waiter() {
            Some(waiter) => _ = waiter.send(Grant::Connection(self)),
            None => pool.idle.borrow_mut().push(Idle { connection: self, since: Moment::now() }),
        }
    }

    /// Whether one that rests is open, and its endpoint has said nothing.
    fn is_open(&self) -> bool {
        self.line.wire.borrow_mut().is_quiet()
    }

    /// Closes it; its place is for another one.
    fn into_slot(self) -> Option<Slot> {
        Rc::into_inner(self.line).map(|line| line.slot)
    }
}

/// A request that was begun.
#[derive(Debug)]
struct Sent {
    upload: Upload,
    /// The endpoint takes no more; it may have answered before.
    is_broken: bool,
    interim: u32,
}

impl Sent {
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Result<(), ErrorKind> {
        if self.is_broken {
            return Ok(());
        }
        match self.upload.poll(wire, cx) {
            Poll::Ready(Err(SendError::Io(_))) if wire.begun => self.is_broken = true,
            Poll::Ready(Err(error)) => return Err(error.kind()),
            Poll::Ready(Ok(())) | Poll::Pending => (),
        }
        Ok(())
    }

    /// An interim response came.
    #[cold]
    fn heard(&mut self, status: StatusCode, wire: &mut Wire, cx: &mut Context<'_>) -> Result<(), ErrorKind> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(ErrorKind::BadResponse);
        }
        if status == StatusCode::CONTINUE {
            self.upload.permit();
        }
        self.poll(wire, cx)
    }
}

/// Reads until a line may have ended: without one there is no more of a head than before.
fn poll_line(wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), ErrorKind>> {
    loop {
        let before = wire.read.len();
        if ready!(wire.poll_read(cx)).map_err(|_| ErrorKind::Reset)? == 0 {
            return Poll::Ready(Err(ErrorKind::Reset));
        }
        let more = wire.read.get(before..).unwrap_or_default();
        if before == 0 || wire.read.len() > head::MAX || more.contains(&b'\n') {
            return Poll::Ready(Ok(()));
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
        self.idle.borrow_mut().retain(|idle| idle.connection.is_open() && idle.since.elapsed() < timeout);
    }

    /// Closes every idle connection.
    pub(super) fn close(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Sends a request on a pooled or a new connection. A pooled one that turns out to be stale is replaced by a new
    /// one when nothing of the request was sent or sending it twice does no harm.
    pub(super) async fn send(self: &Rc<Self>, outgoing: &mut Outgoing, busy: Busy) -> Result<Answer, ErrorKind> {
        let mut connection = match self.idle_connection() {
            Some(connection) => connection,
            // Boxed, here and below: most requests find a connection, and all would have the room for making one.
            None => Box::pin(self.connection(&busy)).await?,
        };
        loop {
            let Some(request) = outgoing else { return Err(ErrorKind::Reset) };
            let mut sent = connection.begin(request);
            let error =
                match std::future::poll_fn(|cx| connection.poll_answer(cx, &mut sent, request.headers_mut())).await {
                    Ok(head) => {
                        *outgoing = None;
                        let (response, incoming) = connection.answer(head, sent);
                        return Ok(response.map(|()| AnswerBody::new(Carrier::Http1(incoming), busy)));
                    }
                    Err(error) => error,
                };
            let again = sent.upload.again(&connection.line.wire.borrow());
            match again.filter(|_| connection.reused && error == ErrorKind::Reset) {
                Some(body) => *request.body_mut() = body,
                None => {
                    *outgoing = None;
                    return Err(error);
                }
            }
            connection = match connection.into_slot() {
                Some(slot) => Box::pin(self.open(slot, &busy)).await?,
                None => Box::pin(self.connection(&busy)).await?,
            };
        }
    }

    /// Takes an idle connection and gives it back, for the micro-benchmarks; false when there is none.
    #[cfg(feature = "bench")]
    pub(super) fn take_and_give_back(&self) -> bool {
        self.idle_connection().map(Connection::give_back).is_some()
    }

    /// The connection that was used last and is still open.
    fn idle_connection(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(last) = idle.pop() {
            if last.connection.is_open() {
                return Some(last.connection);
            }
        }
        None
    }

    /// A new connection, or one that comes free while the endpoint has as many as it may: then it is for whoever has waited
    /// longest.
    async fn connection(self: &Rc<Self>, busy: &Busy) -> Result<Connection, ErrorKind> {
        if self.open.get() < self.max_connections {
            return self.open(Slot::take(self), busy).await;
        }
        let wait = tokio::time::timeout(self.key.settings.connect_timeout, Waiter::new(self).granted());
        let slot = match wait.await {
            Ok(Some(Grant::Connection(connection))) if connection.is_open() => return Ok(connection),
            Ok(Some(Grant::Connection(connection))) => connection.into_slot(),
            Ok(Some(Grant::Slot(slot))) => Some(slot),
            Ok(None) | Err(_) => None,
        };
        self.open(slot.ok_or(ErrorKind::Overloaded)?, busy).await
    }

    async fn open(&self, slot: Slot, busy: &Busy) -> Result<Connection, ErrorKind> {
        let stream = connect::connect(&self.key).await.map_err(|error| {
            busy.endpoint().note_failure(&error);
            ErrorKind::ConnectFailure
        })?;
        Ok(Connection { line: Rc::new(Line { wire: RefCell::new(Wire::new(stream)), slot }), reused: false })
    }

    /// Who has waited longest for a connection and still does.
    fn first_waiter(&self) -> Option<oneshot::Sender<Grant>> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.pop_front() {
            if !first.is_closed() {
                return Some(first);
            }
        }
        None
    }
}

/// What is given to those who wait for a connection.
#[derive(Debug)]
enum Grant {
    Connection(Connection),
    /// Room for another one.
    Slot(Slot),
}

/// A place in the queue for a connection.
#[derive(Debug)]
struct Waiter(oneshot::Receiver<Grant>);

impl Waiter {
    fn new(pool: &Pool) -> Self {
        let (sender, grant) = oneshot::channel();
        let mut waiting = pool.waiting.borrow_mut();
        // Those who waited in vain, at most for the same time each, are in front.
        while waiting.pop_front_if(|first| first.is_closed()).is_some() {}
        waiting.push_back(sender);
        Self(grant)
    }

    async fn granted(mut self) -> Option<Grant> {
        (&mut self.0).await.ok()
    }
}

impl Drop for Waiter {
    /// What was granted to somebody who no longer waits goes to the next one.
    fn drop(&mut self) {
        if let Ok(Grant::Connection(connection)) = self.0.try_recv() {
            connection.give_back();
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
        if let Some(waiter) = self.0.first_waiter() {
            _ = waiter.send(Grant::Slot(Self::take(&self.0)));
        }
    }
}
