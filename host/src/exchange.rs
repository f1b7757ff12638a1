//! The life of one request: accept, route, chain, respond.
//!
//! Read `serve` first, then `exchange/chain.rs`.
//!
//! **Invariant:** an exchange keeps the configuration generation it began with.

use std::{rc::Rc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use hyper::body::Incoming;
use meshup_abi::ErrorKind;

mod answer;
mod chain;
mod completion;
mod event;
mod fields;
mod head;
mod info;
mod known;
mod names;
mod refusal;

pub(crate) use completion::{Completion, Summary};
pub(crate) use head::Forwarded;
pub use info::{ExchangeInfo, Variables};

use crate::{
    body::{RequestSource, ResponseBody, ResponseSource},
    config::ListenerLimits,
    observe,
    server::Connection,
    worker::Route,
};
use chain::{Exchange, Slots};

/// Answers one request of a connection; the answer may be an error of the host's.
pub(crate) async fn serve(connection: &Connection, request: Request<Incoming>) -> Response<ResponseBody> {
    let started = Instant::now();
    let (mut head, incoming) = request.into_parts();
    let protocol = head.version;
    let generation = connection.worker.generation();
    if let Err(kind) = head::check_size(&head, &connection.listener.limits)
        .and_then(|()| head::accept(&mut head, &connection.forwarded))
    {
        return refuse(connection, &head.method, kind);
    }
    let Some(route) = generation.route(&connection.listener.name, &head) else {
        return refuse(connection, &head.method, ErrorKind::NoRoute);
    };
    let body = request_body(incoming, &connection.listener.limits);
    let filters = route.filters.len();
    let end = Box::new(Completion {
        info: (filters > 0).then(|| Box::new(info(connection, &route, &generation, protocol, started, &head))),
        generation,
        route,
        slots: Slots::new(filters),
        request: body.as_ref().ok().cloned().flatten(),
        started,
        upstream_duration: None,
        status: None,
        response_bytes: 0,
        grpc_status: None,
        ended: false,
    });
    let exchange = Exchange::new(end, head, connection.forwarded.scheme);
    match body {
        Ok(_) => exchange.run().await,
        Err(kind) => exchange.refuse(kind),
    }
}

/// The request's body, unless it has none or announces more than it may have.
fn request_body(incoming: Incoming, limits: &ListenerLimits) -> Result<Option<Rc<RequestSource>>, ErrorKind> {
    if incoming.is_end_stream() {
        return Ok(None);
    }
    if limits.max_body_bytes.is_some_and(|max_bytes| incoming.size_hint().lower() > max_bytes) {
        return Err(ErrorKind::BodyTooLarge);
    }
    Ok(Some(RequestSource::new(incoming, limits)))
}

/// The answer to a request that reached no route.
fn refuse(connection: &Connection, method: &Method, kind: ErrorKind) -> Response<ResponseBody> {
    let source = |body| if method == Method::HEAD { ResponseSource::Empty } else { ResponseSource::Full(body) };
    let mut response = refused(connection, kind).map(|body| ResponseBody::bare(source(body)));
    if kind == ErrorKind::BadRequest {
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}

/// What a client gets instead of a response from a route; counted and logged.
pub(crate) fn refused(connection: &Connection, kind: ErrorKind) -> Response<Bytes> {
    let response = refusal::response(kind);
    connection.worker.metrics.unrouted(response.status());
    observe::count_error(kind);
    tracing::debug!(listener = &*connection.listener.name, client = %connection.client, error = %kind, "request refused");
    response
}

fn info(
    connection: &Connection,
    route: &Route,
    generation: &crate::worker::Generation,
    protocol: http::Version,
    started: Instant,
    head: &Parts,
) -> ExchangeInfo {
    let request_id = head.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    ExchangeInfo {
        client: connection.client,
        local: connection.local,
        listener: connection.listener.name.clone(),
        route: route.name.clone(),
        route_prefix: route.path_prefix.clone(),
        upstream: None,
        endpoint: None,
        request_id: request_id.filter(|id| is_request_id(id)).map(Into::into),
        protocol,
        started,
        started_at: std::time::SystemTime::now(),
        generation: generation.number(),
        attempts: 0,
        variables: Variables::default(),
    }
}

/// What is taken over from a client as a request id: short and harmless in every log.
fn is_request_id(id: &str) -> bool {
    let harmless =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b'/' | b'=');
    !id.is_empty() && id.len() <= 128 && id.bytes().all(harmless)
}
