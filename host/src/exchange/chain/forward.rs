//! What the chain waits for: the upstream's response, bodies, fetches.

use std::{cell::Cell, pin::pin, time::Instant};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{HOST, VIA},
    request,
};
use meshup_abi::{BodyError, ErrorKind};

use super::{Exchange, Expired, Fetched, Reply, Target, until};
use crate::{
    body::{BodyFailure, RequestBody, ResponseSource},
    exchange::{answer::FetchRequest, head, head_fields::HeadFields, refusal, wishes::Wishes},
    upstream::Answer,
};

/// How long a fetch may take that names no deadline of its own.
const FETCH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

impl Exchange {
    /// Sends the request to its upstream; the response, or why there is none, becomes the exchange's.
    pub(super) async fn forward(&mut self) -> Result<(), Expired> {
        if self.expired {
            return Err(Expired::Exchange);
        }
        let mut outgoing = match self.upstream_request() {
            Ok(request) => Some(request),
            Err(kind) => {
                self.reply = Reply::error(kind);
                return Ok(());
            }
        };
        let Target::Chosen(upstream) = &self.target else {
            self.reply = Reply::error(ErrorKind::NoUpstream);
            return Ok(());
        };
        let upstream = upstream.clone();
        // Without filters nothing took time so far.
        let now = if self.end.slots.0.is_empty() { self.end.started } else { Instant::now() };
        let response_limit = (now + upstream.response_timeout, Expired::Upstream);
        let limit = self.limit(usize::MAX).filter(|limit| limit.0 < response_limit.0).unwrap_or(response_limit);
        let (destination, endpoint) = (self.end.destination, Cell::new(None));
        self.end.upstream_duration = None;
        let sent = pin!(upstream.send(&mut outgoing, destination, |tried| endpoint.set(Some(tried.key.address))));
        let answer = until(Some(limit), now, sent).await;
        if let Some(info) = &mut self.end.info {
            info.endpoint = endpoint.get();
        }
        let answer = answer.inspect_err(|_| {
            upstream.count(refusal::status(ErrorKind::Timeout), Some(ErrorKind::Timeout));
        });
        self.reply = match answer? {
            Ok(answer) => {
                // Told to filters alone.
                if !self.end.slots.0.is_empty() {
                    self.end.upstream_duration = Some(self.end.started.elapsed());
                }
                let version = answer.version();
                let mut reply = upstream_reply(answer, &self.wishes);
                if let Some(via) = self.via.as_ref().filter(|_| reply.error.is_none()) {
                    reply.head.headers.append(VIA, via.of(version).clone());
                }
                reply
            }
            Err(kind) => Reply::error(kind),
        };
        upstream.count(self.reply.head.status, self.reply.error);
        Ok(())
    }

    /// The request for the upstream. While a filter may run again, the exchange keeps what the host owns of the head
    /// (the filter brings the rest again) and what it can of the body.
    fn upstream_request(&mut self) -> Result<Request<RequestBody>, ErrorKind> {
        if let Target::Route = self.target {
            self.target = self.end.route.choose_upstream().map_or(Target::Missing, Target::Chosen);
        }
        let may_run_again = self.end.slots.any_waiting();
        let untouched = self.end.request.as_ref().is_some_and(|source| source.is_untouched());
        let body = match &self.end.request {
            None => RequestBody::Empty,
            Some(source) if !source.replayable() => {
                return Err(source.failure().map_or(ErrorKind::ReplayLimit, BodyFailure::kind));
            }
            Some(source) => {
                if may_run_again {
                    source.record(self.end.route.replay_limit);
                }
                source.attempt()
            }
        };
        if let (Some(info), Target::Chosen(upstream)) = (&mut self.end.info, &self.target) {
            info.attempts += 1;
            info.upstream = Some(upstream.name.clone());
        }
        let kept = if may_run_again { head::owned_by_host(&self.head.headers) } else { HeaderMap::new() };
        let mut head = take(&mut self.head);
        self.head_fields = None;
        if let Target::Chosen(upstream) = &self.target {
            name_host(&mut head.headers, &upstream.name)?;
        }
        self.head.headers = kept;
        self.head_sent = true;
        let mut request = Request::from_parts(head, body);
        if !self.wishes.is_empty() {
            self.pass_on_wishes(&mut request, untouched);
        }
        Ok(request)
    }

    /// Asks of an HTTP/1.1 upstream what the client asked; a body that was begun is not waited for.
    #[cold]
    fn pass_on_wishes(&self, request: &mut Request<RequestBody>, untouched: bool) {
        let Target::Chosen(upstream) = &self.target else { return };
        if upstream.speaks_http1() && (untouched || !self.wishes.expects_continue()) {
            self.wishes.pass_on(request);
        }
    }

    /// Reads a whole body for filter `at`.
    pub(super) async fn read_body(
        &mut self,
        at: usize,
        of_request: bool,
        limit: usize,
    ) -> Result<Result<Bytes, BodyError>, Expired> {
        if of_request {
            return match self.end.request.clone() {
                Some(source) => self.within(at, pin!(source.read(limit))).await,
                None => Ok(Ok(Bytes::new())),
            };
        }
        let mut source = std::mem::take(&mut self.reply.source);
        let body = self.within(at, pin!(source.read(limit))).await;
        self.reply.source = source;
        body
    }

    /// Asks an upstream on behalf of filter `at`, which can take an answer of `most` bytes.
    pub(super) async fn fetch(
        &mut self,
        at: usize,
        fetch: Box<FetchRequest>,
        most: usize,
    ) -> Result<Result<Fetched, ErrorKind>, Expired> {
        let Some(upstream) = self.end.generation.upstream(&fetch.upstream) else {
            return Ok(Err(ErrorKind::NoUpstream));
        };
        let (timeout, limit) = (fetch.deadline.unwrap_or(FETCH_TIMEOUT), fetch.limit.min(most));
        let destination = self.end.destination;
        let mut request = match fetch_request(*fetch) {
            Ok(request) => Some(request),
            Err(kind) => return Ok(Err(kind)),
        };
        let work = async {
            let (mut head, answer) = upstream.send(&mut request, destination, |_| {}).await?.into_parts();
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(ErrorKind::BadResponse);
            }
            head::strip_response(&mut head.headers);
            let mut source = ResponseSource::Upstream(answer);
            let body = source.read(limit).await.map_err(|error| match error {
                BodyError::TooLarge => ErrorKind::LimitExceeded,
                BodyError::Aborted | BodyError::Gone => ErrorKind::Reset,
            })?;
            Ok(Fetched { status: head.status, fields: HeadFields::of_response(&head.headers), body })
        };
        let work = async { tokio::time::timeout(timeout, work).await.unwrap_or(Err(ErrorKind::Timeout)) };
        let fetched = self.within(at, pin!(work)).await;
        match &fetched {
            Ok(Ok(fetched)) => upstream.count(fetched.status, None),
            Ok(Err(kind)) => upstream.count(refusal::status(*kind), Some(*kind)),
            Err(_) => upstream.count(refusal::status(ErrorKind::Timeout), Some(ErrorKind::Timeout)),
        }
        fetched
    }
}

/// The upstream's response in the inner form.
fn upstream_reply(answer: Answer, wishes: &Wishes) -> Reply {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switched(answer, wishes);
    }
    let (mut head, body) = answer.into_parts();
    head::strip_response(&mut head.headers);
    head.version = http::Version::HTTP_11;
    let source = if http_body::Body::is_end_stream(&body) {
        body.finish();
        ResponseSource::Empty
    } else {
        ResponseSource::Upstream(body)
    };
    Reply::new(Response::from_parts(head, source))
}

/// The upstream's response when it switched protocols, which it may only do when asked.
#[cold]
fn switched(answer: Answer, wishes: &Wishes) -> Reply {
    if answer.version() != http::Version::HTTP_11 || !wishes.is_switched(&answer) {
        return Reply::error(ErrorKind::BadResponse);
    }
    let (mut head, body) = answer.into_parts();
    head::strip_response(&mut head.headers);
    let Some(upgraded) = body.into_upgraded() else { return Reply::error(ErrorKind::BadResponse) };
    Reply::new(Response::from_parts(head, ResponseSource::Switched(Box::new(upgraded))))
}

fn fetch_request(fetch: FetchRequest) -> Result<Request<RequestBody>, ErrorKind> {
    let body = if fetch.body.is_empty() { RequestBody::Empty } else { RequestBody::Full(fetch.body) };
    let mut request = Request::new(body);
    *request.method_mut() = fetch.method;
    *request.uri_mut() = fetch.uri;
    *request.headers_mut() = fetch.headers;
    name_host(request.headers_mut(), &fetch.upstream)?;
    Ok(request)
}

/// A request without authority, from HTTP/1.0 or a filter, gets the upstream's name: HTTP/1.1 demands one (RFC 9112
/// section 3.2).
fn name_host(headers: &mut HeaderMap, upstream: &str) -> Result<(), ErrorKind> {
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_str(upstream).map_err(|_| ErrorKind::BadRequest)?);
    }
    Ok(())
}

/// Takes a head that nobody needs any more.
fn take(head: &mut request::Parts) -> request::Parts {
    std::mem::replace(head, Request::new(()).into_parts().0)
}
