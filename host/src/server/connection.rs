//! One client connection: its protocol, its exchanges, its end.
//!
//! **Invariant:** a connection is closed only after a response that announced it, or when no exchange is under way.

use std::{
    cell::Cell,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch};

use super::{
    guard::{Guard, Guarded},
    preface::Beginning,
};
use crate::{
    body::ResponseBody,
    config,
    exchange::{self, Forwarded},
    local::LocalExecutor,
    worker::{ConnectionCount, Worker},
};

/// After the drain began, a connection gets this long to send the request that its end is announced on.
const DRAIN_GRACE: Duration = Duration::from_millis(1000);
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_STREAMS: u32 = 200;
/// Streams that a client reset before they were begun, and that it made the proxy reset: more are an attack
/// (CVE-2023-44487, CVE-2025-8671).
const MAX_PENDING_RESETS: usize = 20;
const MAX_LOCAL_RESETS: usize = 200;
/// Response bytes that wait for one stream's window.
const MAX_SEND_BUFFER: usize = 128 * 1024;

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
    head_since: Rc<Cell<Option<Instant>>>,
    _count: ConnectionCount,
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
}

impl Connection {
    fn due(&self, now: Instant) -> Due {
        let limits = &self.listener.limits;
        if let Some(since) = self.head_since.get() {
            let deadline = since + limits.header_timeout;
            return if deadline <= now { Due::Head } else { Due::At(deadline) };
        }
        if self.exchanges.get() > 0 {
            return Due::At(now + limits.idle_timeout.min(limits.header_timeout));
        }
        let deadline = self.idle_since.get() + limits.idle_timeout;
        if deadline <= now { Due::Idle } else { Due::At(deadline.min(now + limits.header_timeout)) }
    }

    async fn respond(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, std::convert::Infallible> {
        let active = ActiveExchange::new(&self);
        let http1 = request.version() != Version::HTTP_2;
        let mut response = exchange::serve(&self, request).await;
        response.body_mut().hold(active);
        if self.closing.get() && http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Serves a connection in a task of its own.
pub(super) fn spawn(
    worker: &Rc<Worker>,
    listener: Arc<config::Listener>,
    stream: TcpStream,
    client: SocketAddr,
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
        head_since: Rc::default(),
        _count: worker.count_connection(),
    });
    tokio::task::spawn_local(serve(connection, stream, closing));
}

async fn serve(connection: Rc<Connection>, mut stream: TcpStream, closing: watch::Receiver<bool>) {
    let beginning = tokio::select! {
        biased;
        beginning = Beginning::read(&mut stream, &connection.listener.limits) => beginning,
        () = grace_over(closing.clone()) => return,
    };
    let Some(beginning) = beginning.ok().filter(|beginning| !beginning.is_empty()) else { return };
    if beginning.is_http2() {
        let io = Guarded::new(stream, beginning, None, connection.head_since.clone());
        http2(connection, io, closing).await;
    } else {
        let io = Guarded::new(stream, beginning, Some(Guard::new()), connection.head_since.clone());
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
        .serve_connection(TokioIo::new(io), service);
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
    let served = conn::http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service);
    let mut served = pin!(served);
    drive(&connection, served.as_mut(), closing, |_, served| served.graceful_shutdown()).await;
}

/// Serves until the connection ends, its time is up, or the drain ends it. `end` is called once when the drain begins
/// and once more when its grace is over.
async fn drive<C>(
    connection: &Connection,
    mut served: Pin<&mut C>,
    mut closing: watch::Receiver<bool>,
    end: impl Fn(&Connection, Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    let limits = &connection.listener.limits;
    let mut timer = pin!(tokio::time::sleep(limits.header_timeout.min(limits.idle_timeout)));
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(client = %connection.client, %error, "connection ended");
                }
                return;
            }
            _ = closing.wait_for(|closing| *closing), if !ending => {
                ending = true;
                end(connection, served.as_mut());
                timer.as_mut().reset((Instant::now() + DRAIN_GRACE).into());
            }
            () = timer.as_mut() => match connection.due(Instant::now()) {
                Due::Head => {
                    tracing::debug!(client = %connection.client, "request head took too long");
                    return;
                }
                _ if ending => {
                    end(connection, served.as_mut());
                    timer.as_mut().reset((Instant::now() + DRAIN_GRACE).into());
                }
                Due::Idle => end_idle(connection, &end, served.as_mut(), &mut ending),
                Due::At(next) => timer.as_mut().reset(next.into()),
            },
        }
    }
}

/// Ends a connection that nobody uses.
fn end_idle<C>(
    connection: &Connection,
    end: &impl Fn(&Connection, Pin<&mut C>),
    mut served: Pin<&mut C>,
    ending: &mut bool,
) {
    connection.closing.set(true);
    *ending = true;
    end(connection, served.as_mut());
}
