//! The services behind the proxy: 1 KiB for most requests, 1 MiB, the request's body again, or a gRPC message.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::load::Protocol;

/// Starts a service that speaks `protocol`; it lives as long as the runtime.
pub(crate) async fn start(protocol: Protocol) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(protocol, stream));
        }
    });
    Ok(address)
}

/// A connection ends when the proxy ends it.
async fn serve(protocol: Protocol, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let (io, service) = (TokioIo::new(stream), service_fn(answer));
    match protocol {
        Protocol::Http1 => drop(conn::http1::Builder::new().serve_connection(io, service).await),
        Protocol::Http2 => drop(conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await),
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let content = match path.as_str() {
        "/plain/large" => Bytes::from_static(&[b'x'; 1 << 20]),
        "/plain/echo" | "/grpc" => body,
        _ => Bytes::from_static(&[b'x'; 1024]),
    };
    let body = Full::new(content);
    let response = Response::builder().header("server", "origin").header("cache-control", "no-store");
    let response = if path == "/grpc" {
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        let body = body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed();
        response.header("content-type", "application/grpc").body(body)
    } else {
        response.header("content-type", "text/plain").header("etag", "\"5f2b8c1e\"").body(body.boxed())
    };
    Ok(response.expect("these headers are valid"))
}
