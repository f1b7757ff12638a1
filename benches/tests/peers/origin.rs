//! The origin: answers with its greeting, or with the body it got, and remembers what it saw.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshup_benches::peers::Protocol;
use tokio::net::{TcpListener, TcpStream};

pub(crate) const GREETING: &str = "hello from the origin";

/// Lives on a thread of its own until the process ends.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    connections: usize,
    last: Option<Seen>,
}

/// A request as it arrived.
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

impl Origin {
    pub(crate) fn start(protocol: Protocol) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let log = Arc::new(Mutex::default());
        let for_thread = Arc::clone(&log);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || runtime.block_on(serve(listener, protocol, for_thread)));
        Ok(Self { address, log })
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// The newest request.
    pub(crate) fn take_last(&self) -> Result<Seen> {
        self.log.lock().unwrap().last.take().context("the origin saw no request")
    }
}

async fn serve(listener: std::net::TcpListener, protocol: Protocol, log: Arc<Mutex<Log>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        log.lock().unwrap().connections += 1;
        // A proxy that goes away breaks its connections: nothing to report.
        tokio::spawn(serve_one(connection, protocol, Arc::clone(&log)));
    }
}

async fn serve_one(connection: TcpStream, protocol: Protocol, log: Arc<Mutex<Log>>) -> hyper::Result<()> {
    let io = TokioIo::new(connection);
    let service = service_fn(move |request| answer(request, Arc::clone(&log)));
    match protocol {
        Protocol::Http1 => http1::Builder::new().serve_connection(io, service).await,
        Protocol::Http2 => http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
    }
}

type Answer = Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>;

async fn answer(request: Request<Incoming>, log: Arc<Mutex<Log>>) -> Result<Answer, hyper::Error> {
    let seen = Seen {
        version: request.version(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: request.headers().clone(),
    };
    let is_grpc = seen.headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
    log.lock().unwrap().last = Some(seen);
    let body = if request.method() == Method::POST { request.collect().await?.to_bytes() } else { GREETING.into() };
    Ok(if is_grpc { grpc(body) } else { Response::new(boxed(Full::new(body))) })
}

fn grpc(body: Bytes) -> Answer {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(body).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(boxed(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn boxed(
    body: impl Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
) -> http_body_util::combinators::BoxBody<Bytes, hyper::Error> {
    body.map_err(|never| match never {}).boxed()
}
