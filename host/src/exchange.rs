//! The life of one request: accept, route, chain, respond.
//!
//! Read `begin` first, then `exchange/chain.rs`.
//!
//! **Invariant:** an exchange keeps the configuration generation it began with.

use std::{net::SocketAddr, rc::Rc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION},
    request::Parts,
};
use http_body::Body;
use hyper::body::Incoming;
use meshup_abi::ErrorKind;

mod answer;
mod authority;
mod chain;
mod completion;
mod event;
mod fields;
mod grpc;
mod head;
mod head_fields;
mod info;
mod known;
mod names;
mod path;
mod refusal;
mod wishes;

#[cfg(feature = "bench")]
pub(crate) use {answer::apply, head_fields::HeadFields};

pub(crate) use chain::Exchange;
pub(crate) use completion::{Completion, Summary};
pub(crate) use fields::clean_trailers;
pub(crate) use head::{Forwarded, is_framed_once, size as head_size};
pub use info::{ExchangeInfo, Variables};
pub(crate) use refusal::status;

pub use crate::server::{Peer, TlsSession};

use crate::{
    body::{RequestSource, ResponseBody, ResponseSource},
    config::{ForwardedHeaders, ListenerLimits},
    observe,
    server::Connection,
    worker::Route,
};
use chain::Slots;
use head::Unacceptable;

/// Begins the exchange of one request of a connection. Of an HTTP/2 request, `head_bytes` is the [`size`](head_size) of
/// its head.
///
/// Not async, so that the future which answers has no room for the request besides the exchange.
///
/// # Errors
/// The answer to a request that gets no exchange.
pub(crate) fn begin(
    connection: &Connection,
    request: Request<Incoming>,
    head_bytes: usize,
) -> Result<Exchange, Box<Response<ResponseBody>>> {
    let started = Instant::now();
    let (mut head, incoming) = request.into_parts();
    let protocol = head.version;
    let is_grpc = grpc::is_call(&head);
    let asked = |head: &Parts| Asked { head_only: head.method == Method::HEAD, protocol, is_grpc };
    let generation = connection.worker.generation();
    if let Err(kind) = head::check_size(&head, head_bytes, &connection.listener.limits) {
        return Err(refuse(connection, asked(&head), kind, refusal::status(kind)));
    }
    let wishes = match head::accept(&mut head, &connection.forwarded, &connection.listener) {
        Ok(wishes) => wishes,
        Err(why) => return Err(refuse_head(connection, asked(&head), why)),
    };
    let Some(route) = generation.route(&connection.listener.name, &head) else {
        return Err(refuse(connection, asked(&head), ErrorKind::NoRoute, StatusCode::NOT_FOUND));
    };
    let wishes = wishes.granted(&route.upgrades, !incoming.is_end_stream());
    let body = request_body(incoming, &connection.listener.limits, started);
    let filters = route.filters.len();
    let end = Box::new(Completion {
        info: (filters > 0).then(|| Box::new(info(connection, &route, &generation, protocol, started, &head))),
        generation,
        route,
        slots: Slots::new(filters),
        destination: connection.destination,
        request: body.as_ref().ok().cloned().flatten(),
        started,
        upstream_duration: None,
        status: None,
        response_bytes: 0,
        tunnelled_bytes: 0,
        grpc_status: None,
        skips_rest: protocol != http::Version::HTTP_2 && !wishes.expects_continue(),
        ended: false,
    });
    let exchange = Exchange::new(end, head, wishes, (connection, is_grpc));
    match body {
        Ok(_) => Ok(exchange),
        Err(kind) => Err(Box::new(exchange.refuse(kind))),
    }
}

/// The request's body, unless it has none or announces more than it may have.
fn request_body(
    incoming: Incoming,
    limits: &ListenerLimits,
    started: Instant,
) -> Result<Option<Rc<RequestSource>>, ErrorKind> {
    if incoming.is_end_stream() {
        return Ok(None);
    }
    if limits.max_body_bytes.is_some_and(|max_bytes| incoming.size_hint().lower() > max_bytes) {
        return Err(ErrorKind::BodyTooLarge);
    }
    Ok(Some(RequestSource::new(incoming, limits, started)))
}

/// What the form of an answer depends on.
#[derive(Debug, Clone, Copy)]
struct Asked {
    head_only: bool,
    protocol: Version,
    is_grpc: bool,
}

/// The answer to a request whose head cannot be accepted.
#[cold]
fn refuse_head(connection: &Connection, asked: Asked, why: Unacceptable) -> Box<Response<ResponseBody>> {
    let (kind, status) = match why {
        Unacceptable::Head(kind) => (kind, refusal::status(kind)),
        Unacceptable::Connect => (ErrorKind::BadRequest, StatusCode::METHOD_NOT_ALLOWED),
        Unacceptable::Expectation => (ErrorKind::BadRequest, StatusCode::EXPECTATION_FAILED),
    };
    let mut response = refuse(connection, asked, kind, status);
    if why == Unacceptable::Connect {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    response
}

/// The answer to a request that reached no route.
#[cold]
fn refuse(connection: &Connection, asked: Asked, kind: ErrorKind, status: StatusCode) -> Box<Response<ResponseBody>> {
    let (mut head, body) = refused(connection, kind, status).into_parts();
    let bodiless = asked.head_only || asked.is_grpc && grpc::convert(&mut head, Some(kind), &body);
    if kind == ErrorKind::BadRequest && asked.protocol != Version::HTTP_2 {
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let source = if bodiless { ResponseSource::Empty } else { ResponseSource::Full(body) };
    Box::new(Response::from_parts(head, ResponseBody::bare(source)))
}

/// What a client gets instead of a response from a route; counted and logged.
pub(crate) fn refused(connection: &Connection, kind: ErrorKind, status: StatusCode) -> Response<Bytes> {
    let mut response = refusal::response(kind);
    *response.status_mut() = status;
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
        client: client(connection, head),
        local: connection.local,
        tls: connection.tls.get().cloned(),
        listener: connection.listener.name.clone(),
        route: route.name.clone(),
        route_prefix: route.path_prefix.clone(),
        upstream: None,
        endpoint: None,
        request_id: request_id.filter(|id| is_request_id(id)).map(Into::into),
        protocol,
        started,
        started_at: None,
        generation: generation.number(),
        attempts: 0,
        variables: Variables::default(),
    }
}

/// Who asks: behind trusted proxies, whom they name.
fn client(connection: &Connection, head: &Parts) -> SocketAddr {
    let trusted = &connection.listener.trusted_proxies;
    if trusted.is_empty() || connection.forwarded.policy == ForwardedHeaders::Replace {
        return connection.client;
    }
    let named = head::client_address(&head.headers, trusted).filter(|named| *named != connection.client.ip());
    named.map_or(connection.client, |named| SocketAddr::new(named, 0))
}

/// What is taken over from a client as a request id: short and harmless in every log.
fn is_request_id(id: &str) -> bool {
    let harmless =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b'/' | b'=');
    !id.is_empty() && id.len() <= 128 && id.bytes().all(harmless)
}
