//! Origins as closures: one per connection byte by byte, or one per request.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::AbortHandle,
};

use super::{Body, Message, Protocol, Wire, full};

/// A server behind the proxy. It ends when it is dropped; its connections go on.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    serving: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: AbortHandle,
}

impl Origin {
    /// An origin that talks byte by byte; `serve` gets every connection and its number, from 1.
    pub(crate) async fn raw<F>(serve: impl Fn(Wire, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::accept(move |stream, number, _| tokio::spawn(serve(Wire::over(stream), number)).abort_handle()).await
    }

    /// An HTTP/1 origin that answers every request with `response`, as it stands, and hands over what it received.
    pub(crate) async fn canned(response: &'static str) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (received, messages) = mpsc::unbounded_channel();
        let origin = Self::raw(move |mut wire, _| {
            let received = received.clone();
            async move {
                while let Some(message) = wire.message().await {
                    let _ = received.send(message);
                    if !wire.try_send(response).await {
                        return;
                    }
                }
            }
        });
        (origin.await, messages)
    }

    /// An origin that answers each request by `answer`.
    pub(crate) async fn http<F>(
        protocol: Protocol,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::accept(move |stream, _, requests| {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream, protocol, requests, answer.clone())).abort_handle()
        })
        .await
    }

    /// An origin whose answers, `ok`, wait for a permit.
    pub(crate) async fn gated(protocol: Protocol) -> (Self, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let opened = gate.clone();
        let origin = Self::http(protocol, move |_| {
            let opened = opened.clone();
            async move {
                opened.acquire().await.unwrap().forget();
                Response::new(full("ok"))
            }
        });
        (origin.await, gate)
    }

    pub(super) async fn accept(
        serve: impl Fn(TcpStream, usize, Arc<AtomicUsize>) -> AbortHandle + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (accepted, counted) = (connections.clone(), requests.clone());
        let serving = Arc::<Mutex<Vec<AbortHandle>>>::default();
        let served = serving.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = accepted.fetch_add(1, Ordering::SeqCst) + 1;
                small_buffer(&stream);
                served.lock().unwrap().push(serve(stream, number, counted.clone()));
            }
        });
        Self { address, connections, requests, serving, accepting: accepting.abort_handle() }
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.serving.lock().unwrap().iter().filter(|connection| !connection.is_finished()).count()
    }

    /// Closes every connection.
    pub(crate) fn close_connections(&self) {
        self.serving.lock().unwrap().iter().for_each(AbortHandle::abort);
    }

    /// Requests received so far; not counted by raw origins.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Answers the requests of one connection.
pub(super) async fn serve<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    protocol: Protocol,
    requests: Arc<AtomicUsize>,
    answer: impl Fn(Request<Incoming>) -> F + Send + 'static,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        requests.fetch_add(1, Ordering::SeqCst);
        let answered = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answered.await) }
    });
    let io = TokioIo::new(stream);
    let _ = match protocol {
        Protocol::Http1 => conn::http1::Builder::new().serve_connection(io, service).await,
        Protocol::Http2 => conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
    };
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Keeps the system from buffering megabytes that nobody reads.
pub(super) fn small_buffer(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_recv_buffer_size(128 << 10).unwrap();
}

/// An address that refuses connections for as long as this lives.
pub(crate) struct Refusing {
    pub(crate) address: SocketAddr,
    _bound: Socket,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = bound.local_addr().unwrap().as_socket().unwrap();
        Self { address, _bound: bound }
    }
}
