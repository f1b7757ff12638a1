//! One client connection: its protocol, its exchanges, its end.
//!
//! **Invariant:** a connection is closed only after a response that announced it, or when no exchange is under way.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use http_body::Body;
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};

use super::{
    guard::{Guard, Guarded},
    link::Link,
    preface::Beginning,
    proxy_protocol::{self, Announced},
    tunnel::Tunnel,
};
use crate::{
    body::ResponseBody,
    config::{self, ForwardedHeaders},
    exchange::{self, Forwarded},
    local::LocalExecutor,
    observe,
    worker::{ConnectionCount, Worker},
};

/// After the drain began, a connection gets this long to send the request that its end is announced on.
const DRAIN_GRACE: Duration = Duration::from_millis(1000);
/// For how long and how much is read of a request that nobody wants any more, after its answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 1024 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_STREAMS: u32 = 200;

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
    idle_since: Cell<Instant>,
    link: Rc<Link>,
    /// What the connection becomes once hyper is done with it.
    tunnel: RefCell<Option<(Tunnel, ActiveExchange)>>,
    _count: ConnectionCount,
}

/// An exchange under way on a connection.
#[derive(Debug)]
pub(crate) struct ActiveExchange(Rc<Connection>);

impl ActiveExchange {
    fn new(connection: &Rc<Connection>) -> Self {
        let exchanges = &connection.link.exchanges;
        exchanges.set(exchanges.get() + 1);
        Self(connection.clone())
    }
}

impl Drop for ActiveExchange {
    fn drop(&mut self) {
        let left = self.0.link.exchanges.get() - 1;
        self.0.link.exchanges.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
            self.0.link.wake_reader();
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
        if let Some(since) = self.link.head_since.get() {
            let deadline = since + limits.header_timeout;
            return if deadline <= now { Due::Head } else { Due::At(deadline) };
        }
        if self.link.exchanges.get() > 0 {
            return Due::At(now + limits.idle_timeout.min(limits.header_timeout));
        }
        let deadline = self.idle_since.get() + limits.idle_timeout;
        if deadline <= now { Due::Idle } else { Due::At(deadline.min(now + limits.header_timeout)) }
    }

    async fn respond(
        self: Rc<Self>,
        request: Request<Incoming>,
        active: ActiveExchange,
    ) -> Result<Response<ResponseBody>, std::convert::Infallible> {
        let http1 = request.version() != Version::HTTP_2;
        let held = self.link.is_holding() && request.headers().contains_key(UPGRADE) && request.body().is_end_stream();
        let mut response = exchange::serve(&self, request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            *self.tunnel.borrow_mut() = response.body_mut().take_tunnel().map(|tunnel| (tunnel, active));
            return Ok(response);
        }
        if held {
            self.link.release();
        }
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
    let peers = Announced { client, local };
    if listener.proxy_protocol {
        let (worker, count) = (worker.clone(), worker.count_connection());
        tokio::task::spawn_local(async move {
            let mut stream = stream;
            if let Some(peers) = announced(&mut stream, peers, &listener, closing.clone()).await {
                serve(Connection::new(&worker, listener, peers, count), stream, closing).await;
            }
        });
    } else {
        let connection = Connection::new(worker, listener, peers, worker.count_connection());
        tokio::task::spawn_local(serve(connection, stream, closing));
    }
}

/// Whose connection it is, as a load balancer announces it; none when it must be closed.
async fn announced(
    stream: &mut TcpStream,
    peers: Announced,
    listener: &config::Listener,
    closing: watch::Receiver<bool>,
) -> Option<Announced> {
    let read = tokio::select! {
        biased;
        read = proxy_protocol::read(stream, listener.limits.header_timeout) => read,
        () = grace_over(closing) => return None,
    };
    match read {
        Ok(announced) => Some(announced.unwrap_or(peers)),
        Err(error) => {
            observe::count_proxy_protocol_error();
            tracing::debug!(listener = &*listener.name, peer = %peers.client, %error, "connection refused");
            None
        }
    }
}

impl Connection {
    fn new(worker: &Rc<Worker>, listener: Arc<config::Listener>, peers: Announced, count: ConnectionCount) -> Rc<Self> {
        let client = SocketAddr::new(peers.client.ip().to_canonical(), peers.client.port());
        let address = HeaderValue::from_str(&client.ip().to_string());
        let trusted = listener.trusted_proxies.is_empty() || config::trusts(&listener.trusted_proxies, client.ip());
        Rc::new(Self {
            worker: worker.clone(),
            forwarded: Forwarded {
                policy: if trusted { listener.forwarded_headers } else { ForwardedHeaders::Replace },
                client: address.unwrap_or(HeaderValue::from_static("unknown")),
                scheme: "http",
            },
            listener,
            client,
            local: peers.local,
            closing: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            link: Rc::default(),
            tunnel: RefCell::default(),
            _count: count,
        })
    }
}

async fn serve(connection: Rc<Connection>, mut stream: TcpStream, closing: watch::Receiver<bool>) {
    let beginning = tokio::select! {
        biased;
        beginning = Beginning::read(&mut stream, &connection.listener.limits) => beginning,
        () = grace_over(closing.clone()) => return,
    };
    let Some(beginning) = beginning.ok().filter(|beginning| !beginning.is_empty()) else { return };
    if beginning.is_http2() {
        let io = Guarded::new(stream, beginning, None, connection.link.clone());
        http2(connection, io, closing).await;
    } else {
        let io = Guarded::new(stream, beginning, Some(Guard::new()), connection.link.clone());
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
    let service = service_fn(|request| connection.clone().respond(request, ActiveExchange::new(&connection)));
    let mut served = conn::http1::Builder::new()
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .serve_connection(TokioIo::new(io), service);
    drive(&connection, Pin::new(&mut served), closing, |connection, served| {
        if connection.closing.replace(true) {
            served.graceful_shutdown();
        }
    })
    .await;
    let io = served.into_parts().io.into_inner();
    let tunnel = connection.tunnel.take();
    if let Some((tunnel, active)) = tunnel {
        let (stream, early) = io.into_parts();
        Box::pin(tunnel.run(stream, early, active)).await;
    } else if io.has_unread() {
        Box::pin(linger(io.into_parts().0)).await;
    }
}

/// Reads on for a while behind the last response: closing at once would reset the connection, and the client could
/// lose the response (RFC 9112 section 9.6).
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    if tokio::io::AsyncWriteExt::shutdown(&mut stream).await.is_err() {
        return;
    }
    let mut rest = tokio::io::AsyncReadExt::take(&mut stream, LINGER_BYTES);
    let mut nowhere = tokio::io::sink();
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut nowhere)).await;
}

async fn http2(connection: Rc<Connection>, io: Guarded<TcpStream>, closing: watch::Receiver<bool>) {
    let limits = &connection.listener.limits;
    let service = service_fn(|request| connection.clone().respond(request, ActiveExchange::new(&connection)));
    let served = conn::http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
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
