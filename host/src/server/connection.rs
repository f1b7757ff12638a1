//! One client connection: its protocol, its exchanges, its end.
//!
//! **Invariant:** a connection is closed only after a response that announced it, or when no exchange is under way.

use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use http_body::Body;
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch};

mod fate;
mod http1;

use fate::{Fates, drive};
use http1::http1;

use super::{
    BoundListener, TlsSession, destination,
    guarded::Guarded,
    heads::Kept,
    link::Link,
    parser_answer::is_bare,
    preface::Beginning,
    proxy_protocol::{self, Announced, ProxyError},
    room::Place,
    stall::Streams,
    tls::{Alpn, HandshakeError, Tls},
    tunnel::Tunnel,
};
use crate::{
    body::ResponseBody,
    coarse::Moment,
    config::{self, ForwardedHeaders},
    cork::{Corked, Turning, Turns},
    exchange::{self, Forwarded},
    observe::{self, Refusal},
    transport::Transport,
    worker::{ConnectionCount, Worker},
};

/// After `idle_timeout`, a connection gets this long to send the request that its end is announced on.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// Streams that a client reset before they were begun: more are an attack (CVE-2023-44487).
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
    /// The address the client reached or, on a transparent listener, meant to reach.
    pub local: SocketAddr,
    /// Where the client meant to go, if that is known and not here.
    pub destination: Option<SocketAddr>,
    pub forwarded: Forwarded,
    /// What the TLS handshake told, once there was one.
    pub tls: OnceCell<Arc<TlsSession>>,
    /// The next response announces the end of the connection.
    closing: Cell<bool>,
    idle_since: Cell<Moment>,
    link: Rc<Link>,
    /// What the connection becomes once hyper is done with it.
    tunnel: RefCell<Option<(Tunnel, ActiveExchange)>>,
    /// The latest response looks like one that the parser makes.
    pub(super) answered_barely: Cell<bool>,
    _counted: Counted,
}

/// What a connection takes up for as long as it is there.
#[derive(Debug)]
struct Counted {
    _count: ConnectionCount,
    _place: Place,
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
            self.0.idle_since.set(Moment::now());
            self.0.link.wake_reader();
        }
    }
}

impl Connection {
    #[cold]
    fn refuse(&self, refusal: Refusal) {
        observe::count_refusal(refusal);
        tracing::debug!(listener = &*self.listener.name, client = %self.client, reason = refusal.as_str(), "connection ended");
    }

    /// Answers one request. Not async, so that what answers it has no room for the request besides its exchange.
    fn respond(
        self: Rc<Self>,
        request: Request<Incoming>,
        active: ActiveExchange,
    ) -> impl Future<Output = Result<Response<ResponseBody>, h2::Error>> {
        let http1 = request.version() != Version::HTTP_2;
        let head_bytes = if http1 { 0 } else { exchange::head_size(&request) };
        let kept = Kept::one(&self.link, head_bytes, self.listener.limits.http2_connection_heads);
        let held = self.link.is_holding() && request.headers().contains_key(UPGRADE) && request.body().is_end_stream();
        let asked = Asked { http1, held };
        let mut begun = kept.is_some().then(|| exchange::begin(&self, request, head_bytes));
        async move {
            if let Some(Ok(exchange)) = &mut begun {
                exchange.walk().await;
            }
            drop(kept);
            match begun {
                Some(Ok(exchange)) => Ok(self.answer(exchange.respond(), active, asked)),
                Some(Err(refused)) => Ok(self.answer(*refused, active, asked)),
                None => Err(self.refuse_stream()),
            }
        }
    }

    /// What the connection has to do with a response.
    fn answer(
        &self,
        mut response: Response<ResponseBody>,
        active: ActiveExchange,
        asked: Asked,
    ) -> Response<ResponseBody> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            *self.tunnel.borrow_mut() = response.body_mut().take_tunnel().map(|tunnel| (tunnel, active));
            return response;
        }
        if asked.held {
            self.link.release();
        }
        if is_bare(&response) {
            self.answered_barely.set(true);
        }
        response.body_mut().hold(active);
        if self.closing.get() && asked.http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The connection has the proxy keep too many heads.
    #[cold]
    fn refuse_stream(&self) -> h2::Error {
        observe::count_refusal(Refusal::Http2Heads);
        self.link.refusing.set(self.link.refusing.get() + 1);
        h2::Reason::REFUSED_STREAM.into()
    }
}

/// What is left to be known of a request when its response comes.
#[derive(Debug, Clone, Copy)]
struct Asked {
    http1: bool,
    /// What the client sent behind it waits for the response.
    held: bool,
}

/// Serves a connection in a task of its own.
pub(super) fn spawn(
    worker: &Rc<Worker>,
    listener: &BoundListener,
    (stream, client): (TcpStream, SocketAddr),
    place: Place,
    closing: watch::Receiver<bool>,
) {
    let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else { return };
    let destination = listener.settings.transparent.then(|| destination::original(&stream, local)).flatten();
    let peers = Announced { client, local: destination.unwrap_or(local) };
    let (settings, tls) = (listener.settings.clone(), listener.tls.clone());
    let counted = Counted { _count: worker.count_connection(), _place: place };
    if settings.proxy_protocol {
        let worker = worker.clone();
        tokio::task::spawn_local(async move {
            let mut stream = stream;
            if let Some(peers) = announced(&worker, &mut stream, peers, &settings, closing.clone()).await {
                let connection = Connection::new(&worker, settings, tls.is_some(), peers, destination, counted);
                serve(connection, stream, tls, closing).await;
            }
        });
    } else {
        let connection = Connection::new(worker, settings, tls.is_some(), peers, destination, counted);
        tokio::task::spawn_local(serve(connection, stream, tls, closing));
    }
}

/// Whose connection it is, as a load balancer announces it; none when it must be closed.
async fn announced(
    worker: &Worker,
    stream: &mut TcpStream,
    peers: Announced,
    listener: &config::Listener,
    closing: watch::Receiver<bool>,
) -> Option<Announced> {
    let read = tokio::select! {
        biased;
        read = proxy_protocol::read(stream, listener.limits.header_timeout) => read,
        () = grace_over(worker, closing) => return None,
    };
    match read {
        Ok(announced) => Some(announced.unwrap_or(peers)),
        Err(error) => {
            observe::count_proxy_protocol_error();
            if matches!(error, ProxyError::Late) {
                observe::count_refusal(Refusal::HeaderTimeout);
            }
            tracing::debug!(listener = &*listener.name, peer = %peers.client, %error, "connection refused");
            None
        }
    }
}

impl Connection {
    fn new(
        worker: &Rc<Worker>,
        listener: Arc<config::Listener>,
        tls: bool,
        peers: Announced,
        destination: Option<SocketAddr>,
        counted: Counted,
    ) -> Rc<Self> {
        let client = SocketAddr::new(peers.client.ip().to_canonical(), peers.client.port());
        let address = HeaderValue::from_str(&client.ip().to_string());
        let trusted = listener.trusted_proxies.is_empty() || config::trusts(&listener.trusted_proxies, client.ip());
        Rc::new(Self {
            worker: worker.clone(),
            forwarded: Forwarded {
                policy: if trusted { listener.forwarded_headers } else { ForwardedHeaders::Replace },
                client: address.unwrap_or(HeaderValue::from_static("unknown")),
                scheme: if tls { "https" } else { "http" },
            },
            tls: OnceCell::new(),
            listener,
            client,
            local: peers.local,
            destination,
            closing: Cell::new(false),
            idle_since: Cell::new(Moment::now()),
            link: Rc::default(),
            tunnel: RefCell::default(),
            answered_barely: Cell::new(false),
            _counted: counted,
        })
    }
}

async fn serve(connection: Rc<Connection>, stream: TcpStream, tls: Option<Arc<Tls>>, closing: watch::Receiver<bool>) {
    let begun = tokio::select! {
        biased;
        begun = begin(&connection, stream, tls) => begun,
        () = grace_over(&connection.worker, closing.clone()) => return,
    };
    let Some((stream, beginning, alpn)) = begun else { return };
    let link = connection.link.clone();
    if alpn.map_or(beginning.is_http2(), |alpn| alpn == Alpn::Http2) {
        let stream = Corked::new(stream);
        let turns = stream.turns();
        let io = Guarded::http2(stream, beginning, connection.listener.limits.max_control_frames, link);
        // In a task of its own: this one has room for HTTP/1 and its handshake, for which there is no more use.
        tokio::task::spawn_local(http2(connection, io, turns, closing));
    } else {
        let io = Guarded::http1(stream, beginning, link);
        http1(connection, io, closing).await;
    }
}

/// Shakes hands, where there is TLS, and reads the first bytes of what the client asks for; `None` when it does not.
async fn begin(
    connection: &Connection,
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
) -> Option<(Transport, Beginning, Option<Alpn>)> {
    let (mut stream, alpn) = match tls {
        None => (Transport::Clear(stream), None),
        // Boxed: a handshake's state is large, and most of a connection's life comes after it.
        Some(tls) => Box::pin(handshake(connection, stream, tls)).await?,
    };
    let beginning = Beginning::read(&mut stream, &connection.listener.limits).await;
    let beginning = beginning.inspect_err(|error| {
        if error.kind() == std::io::ErrorKind::TimedOut {
            connection.refuse(Refusal::HeaderTimeout);
        }
    });
    let beginning = beginning.ok()?;
    (!beginning.is_empty()).then_some((stream, beginning, alpn))
}

async fn handshake(connection: &Connection, stream: TcpStream, tls: Arc<Tls>) -> Option<(Transport, Option<Alpn>)> {
    match tls.accept(stream, connection.listener.limits.header_timeout).await {
        Ok((stream, session, alpn)) => {
            let _ = connection.tls.set(session);
            Some((stream, alpn))
        }
        Err(error) => {
            connection.worker.metrics.handshake_failures.increment(1);
            if matches!(error, HandshakeError::Slow) {
                observe::count_refusal(Refusal::HandshakeTimeout);
            }
            let listener = &*connection.listener.name;
            tracing::debug!(listener, client = %connection.client, %error, "TLS handshake failed");
            None
        }
    }
}

/// Until a client that has not asked yet was given its time since the drain began.
async fn grace_over(worker: &Worker, mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
    tokio::time::sleep(worker.drain_idle_grace()).await;
}

async fn http2(
    connection: Rc<Connection>,
    io: Guarded<Corked<Transport>>,
    turns: Turns<Transport>,
    closing: watch::Receiver<bool>,
) {
    let limits = &connection.listener.limits;
    // Boxed: on its way into the stream's task, and at the task's end, what it holds would be moved eight times.
    let service = service_fn(|request| Box::pin(connection.clone().respond(request, ActiveExchange::new(&connection))));
    let served =
        conn::http2::Builder::new(Streams { write_timeout: limits.write_timeout, link: connection.link.clone() })
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits.http2_stream_window)
            .initial_connection_window_size(limits.http2_connection_window)
            .max_concurrent_streams(limits.max_streams)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(limits.max_resets)
            .max_send_buf_size(limits.http2_send_buffer)
            .max_header_list_size(u32::try_from(READ_HEADS * limits.max_header_bytes).unwrap_or(u32::MAX))
            .serve_connection(TokioIo::new(io), service);
    let served = Turning::new(served, turns, |sent| connection.link.pace.turned(sent));
    let (timer, mut served) = (pin!(Fates::timer(&connection)), pin!(served));
    let mut fates = Fates::new(&connection, closing, timer);
    drive(&mut fates, served.as_mut(), |_, served| served.task().graceful_shutdown()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what an async function with these arguments returns.
    fn size<A, B, C, D, F>(_function: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// The same with one argument less.
    fn size_of_three<A, B, C, F>(_function: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_under_way_keeps_little() {
        let size = size_of_three(Connection::respond);
        assert!(size <= 2560, "{size}");
    }

    #[test]
    fn an_idle_connection_keeps_little() {
        let sizes = (size(serve), size_of::<Connection>());
        assert!(sizes.0 <= 2048 && sizes.1 <= 512, "{sizes:?}");
    }
}
