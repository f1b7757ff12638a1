//! One client connection: its protocol, its exchanges, its end.
//!
//! **Invariant:** a connection is closed only after a response that announced it, or when no exchange is under way.

use std::{
    cell::Cell,
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch, time::Sleep};

use super::{
    aside::Aside,
    guard::{Guard, Guarded},
    pace::Pace,
    parser_answer::{Answering, is_bare},
    preface::Beginning,
    room::Place,
    stall::Streams,
};
use crate::{
    body::ResponseBody,
    config,
    exchange::{self, Forwarded},
    observe::{self, Refusal},
    worker::{ConnectionCount, Worker},
};

/// After the drain began, a connection gets this long to send the request that its end is announced on.
const DRAIN_GRACE: Duration = Duration::from_millis(1000);
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Response data that waits for a stream's client, beyond what was read at once.
const SEND_BUFFER: usize = 32 * 1024;
/// Streams that a client reset before they could be taken up (CVE-2023-44487); the library's own default.
const MAX_PENDING_RESETS: usize = 20;
/// Heads up to so many times their limit are read, so that the exchange refuses them and says why; what is larger the
/// HTTP/2 library answers with a bare 431.
const READ_HEADS: usize = 2;

/// One client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub worker: Rc<Worker>,
    pub listener: Arc<config::Listener>,
    pub client: SocketAddr,
    pub local: SocketAddr,
    pub forwarded: Forwarded,
    /// The next response announces the end of the connection.
    closing: Cell<bool>,
    exchanges: Cell<u32>,
    idle_since: Cell<Instant>,
    pace: Rc<Pace>,
    /// The latest response looks like one that the parser makes.
    pub(super) answered_barely: Cell<bool>,
    _count: ConnectionCount,
    _place: Place,
}

/// An exchange under way on a connection.
#[derive(Debug)]
pub(crate) struct ActiveExchange(Rc<Connection>);

impl ActiveExchange {
    fn new(connection: &Rc<Connection>) -> Self {
        connection.exchanges.set(connection.exchanges.get() + 1);
        Self(connection.clone())
    }
}

impl Drop for ActiveExchange {
    fn drop(&mut self) {
        let left = self.0.exchanges.get() - 1;
        self.0.exchanges.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// What the connection's clock says.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Nothing yet; look again then.
    At(Instant),
    /// Idle for too long.
    Idle,
    /// A head is too long under way.
    Head,
    /// The client takes nothing of what is written.
    Write,
}

impl Connection {
    fn due(&self, now: Instant) -> Due {
        let limits = &self.listener.limits;
        if let Some(since) = self.pace.write_since() {
            let deadline = since + limits.write_timeout;
            return if deadline <= now { Due::Write } else { Due::At(deadline) };
        }
        if let Some(since) = self.pace.head_since() {
            let deadline = since + limits.header_timeout;
            return if deadline <= now { Due::Head } else { Due::At(deadline) };
        }
        if self.exchanges.get() > 0 {
            return Due::At(now + shortest_timeout(limits));
        }
        let deadline = self.idle_since.get() + limits.idle_timeout;
        if deadline <= now { Due::Idle } else { Due::At(deadline.min(now + shortest_timeout(limits))) }
    }

    /// Whether it was to end after the exchange under way, and has none, but the client leaves what it was sent.
    fn is_stuck(&self, ending: Instant) -> bool {
        self.exchanges.get() == 0 && ending.elapsed() >= self.listener.limits.write_timeout
    }

    #[cold]
    fn end(&self, refusal: Refusal) -> Fate {
        self.refuse(refusal);
        Fate::End
    }

    #[cold]
    fn refuse(&self, refusal: Refusal) {
        observe::count_refusal(refusal);
        tracing::debug!(listener = &*self.listener.name, client = %self.client, reason = ?refusal, "connection ended");
    }

    async fn respond(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, std::convert::Infallible> {
        let active = ActiveExchange::new(&self);
        let http1 = request.version() != Version::HTTP_2;
        let mut response = exchange::serve(&self, request).await;
        if is_bare(&response) {
            self.answered_barely.set(true);
        }
        response.body_mut().hold(active);
        if self.closing.get() && http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// How often the clock looks for what may have begun meanwhile.
fn shortest_timeout(limits: &config::ListenerLimits) -> Duration {
    limits.idle_timeout.min(limits.header_timeout).min(limits.write_timeout)
}

/// Serves a connection in a task of its own.
pub(super) fn spawn(
    worker: &Rc<Worker>,
    listener: Arc<config::Listener>,
    stream: TcpStream,
    client: SocketAddr,
    place: Place,
    closing: watch::Receiver<bool>,
) {
    let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else { return };
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let address = HeaderValue::from_str(&client.ip().to_string());
    let connection = Rc::new(Connection {
        worker: worker.clone(),
        forwarded: Forwarded {
            policy: listener.forwarded_headers,
            client: address.unwrap_or(HeaderValue::from_static("unknown")),
            scheme: "http",
        },
        listener,
        client,
        local,
        closing: Cell::new(false),
        exchanges: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        pace: Rc::default(),
        answered_barely: Cell::new(false),
        _count: worker.count_connection(),
        _place: place,
    });
    tokio::task::spawn_local(serve(connection, stream, closing));
}

async fn serve(connection: Rc<Connection>, mut stream: TcpStream, closing: watch::Receiver<bool>) {
    let beginning = tokio::select! {
        biased;
        beginning = Beginning::read(&mut stream, &connection.listener.limits) => beginning,
        () = grace_over(closing.clone()) => return,
    };
    let beginning = beginning.inspect_err(|error| {
        if error.kind() == std::io::ErrorKind::TimedOut {
            connection.refuse(Refusal::HeaderTimeout);
        }
    });
    let Some(beginning) = beginning.ok().filter(|beginning| !beginning.is_empty()) else { return };
    if beginning.is_http2() {
        let io = Guarded::new(stream, beginning, None, connection.pace.clone());
        http2(connection, io, closing).await;
    } else {
        let io = Guarded::new(stream, beginning, Some(Guard::new()), connection.pace.clone());
        http1(connection, io, closing).await;
    }
}

/// Until a client that has not asked yet was given its time since the drain began.
async fn grace_over(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
    tokio::time::sleep(DRAIN_GRACE).await;
}

async fn http1(connection: Rc<Connection>, io: Guarded<TcpStream>, closing: watch::Receiver<bool>) {
    let limits = &connection.listener.limits;
    let service = service_fn(|request| connection.clone().respond(request));
    let served = conn::http1::Builder::new()
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .serve_connection(TokioIo::new(Answering::new(io, connection.clone())), service);
    let mut served = pin!(served);
    drive(&connection, served.as_mut(), closing, |connection, served| {
        if connection.closing.replace(true) {
            served.graceful_shutdown();
        }
    })
    .await;
}

async fn http2(connection: Rc<Connection>, io: Guarded<TcpStream>, closing: watch::Receiver<bool>) {
    let limits = &connection.listener.limits;
    let service = service_fn(|request| connection.clone().respond(request));
    let served = conn::http2::Builder::new(Streams { write_timeout: limits.write_timeout })
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.max_streams)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(limits.max_resets)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(READ_HEADS * limits.max_header_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service);
    let mut served = pin!(served);
    drive(&connection, served.as_mut(), closing, |_, served| served.graceful_shutdown()).await;
}

/// What is to become of a connection, seen from beside it.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The next response announces the end; a second time, its grace is over.
    Close,
    /// It ends now.
    End,
}

/// Serves until the connection ends, its time is up, or the drain ends it. `end` is called once when the drain begins
/// and once more when its grace is over.
async fn drive<C>(
    connection: &Connection,
    mut served: Pin<&mut C>,
    closing: watch::Receiver<bool>,
    end: impl Fn(&Connection, Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    let limits = &connection.listener.limits;
    let timer = pin!(tokio::time::sleep(shortest_timeout(limits)));
    let mut fates = Fates { connection, closing, timer, ending: None };
    let aside = poll_fn(|cx| Poll::Ready(Aside::new(cx.waker()))).await;
    loop {
        let mut fate = pin!(fates.next());
        let fate = poll_fn(|cx| match served.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Err(result)),
            Poll::Pending => aside.poll(fate.as_mut()).map(Ok),
        });
        match fate.await {
            Err(result) => {
                if let Err(error) = result {
                    if is_flood(&error) {
                        connection.refuse(Refusal::Http2Flood);
                    }
                    tracing::debug!(client = %connection.client, %error, "connection ended");
                }
                return;
            }
            Ok(Fate::End) => return,
            Ok(Fate::Close) => end(connection, served.as_mut()),
        }
        aside.ring();
    }
}

/// Whether the HTTP/2 library ended the connection because there was too much of something.
fn is_flood(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// The fates of one connection: its timer, and the drain.
struct Fates<'a> {
    connection: &'a Connection,
    closing: watch::Receiver<bool>,
    timer: Pin<&'a mut Sleep>,
    /// Since when it is to end.
    ending: Option<Instant>,
}

impl Fates<'_> {
    /// The next one.
    async fn next(&mut self) -> Fate {
        loop {
            tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing), if self.ending.is_none() => {
                    self.ending = Some(Instant::now());
                    self.timer.as_mut().reset((Instant::now() + DRAIN_GRACE).into());
                    return Fate::Close;
                }
                () = self.timer.as_mut() => match self.connection.due(Instant::now()) {
                    Due::Head => return self.connection.end(Refusal::HeaderTimeout),
                    Due::Write => return self.connection.end(Refusal::WriteTimeout),
                    _ if self.ending.is_some_and(|since| self.connection.is_stuck(since)) => {
                        return self.connection.end(Refusal::WriteTimeout);
                    }
                    _ if self.ending.is_some() => {
                        self.timer.as_mut().reset((Instant::now() + DRAIN_GRACE).into());
                        return Fate::Close;
                    }
                    Due::Idle => {
                        self.ending = Some(Instant::now());
                        self.connection.closing.set(true);
                        self.timer.as_mut().reset((Instant::now() + DRAIN_GRACE).into());
                        return Fate::Close;
                    }
                    Due::At(next) => self.timer.as_mut().reset(next.into()),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what an async function with these arguments returns.
    fn size<A, B, C, F>(_function: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_keeps_little() {
        let sizes = (size(serve), size(http1), size(http2), size_of::<Connection>());
        assert!(sizes.0 <= 4096 && sizes.3 <= 512, "{sizes:?}");
    }
}
