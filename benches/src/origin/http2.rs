//! HTTP/2 in clear text, and gRPC over it.

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::work::{LARGE, SMALL};

type Body = BoxBody<Bytes, Infallible>;

pub(super) async fn answer(connection: TcpStream) -> Result<()> {
    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service_fn(respond)).await?;
    Ok(())
}

async fn respond(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        return Ok(grpc(body));
    }
    let bytes = if head.uri.path().ends_with("large") { LARGE } else { SMALL };
    Ok(Response::new(Full::new(vec![b'x'; bytes].into()).boxed()))
}

/// The call's own message, and that all is well.
fn grpc(message: Bytes) -> Response<Body> {
    let status = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(status))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
