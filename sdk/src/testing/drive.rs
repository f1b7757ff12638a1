//! One exchange of a test: the host's side of the messages.
//!
//! **Invariant:** the filter sees nothing but encoded events, and only its encoded answers count.

use std::{rc::Rc, time::Duration};

use meshup_abi::{Attribute, BodyError, ErrorKind, Event, Field, Fields, Verdict, flag, tag};

use super::{
    Tester,
    messages::{Finished, Message, SentRequest, put_headers},
    reply::{Reply, ReplyKind, error_response},
};
use crate::{buffer::Buffer, context, host::native, request::Request, wire};

/// The exchange under test; its index in the instance is of no meaning.
const EXCHANGE: u32 = 3;

pub(super) type Next<'a> = &'a mut dyn FnMut(&SentRequest) -> Reply;

/// Runs the exchange from the request to its end.
pub(super) fn exchange(tester: &mut Tester, req: &Request, next: Next<'_>) -> Finished {
    native::enter(&Rc::clone(&tester.world));
    let began = tester.world.borrow().now;
    tester.set_attribute(Attribute::Attempts, b"0");
    tester.set_attribute(Attribute::StartTime, &native::now_unix().to_le_bytes());
    let drive = Drive {
        began,
        upstream_duration: None,
        request: SentRequest::from_client(req),
        response: None,
        want_end: false,
        finished: Finished {
            response: Message::default(),
            sent: Vec::new(),
            fetched: Vec::new(),
            slept: Vec::new(),
            passed: false,
            cancelled: false,
        },
        tester,
    };
    drive.run(next)
}

struct Drive<'a> {
    tester: &'a mut Tester,
    began: Duration,
    upstream_duration: Option<Duration>,
    /// The host's copy.
    request: SentRequest,
    /// The response of the latest run.
    response: Option<Message>,
    want_end: bool,
    finished: Finished,
}

/// What the host does after an answer.
enum Step {
    Event(Event, Vec<u8>),
    Over(Message),
    Cancelled,
}

impl Drive<'_> {
    fn run(mut self, next: Next<'_>) -> Finished {
        let mut answer = self.send(Event::Request, self.request_event());
        loop {
            match self.step(&answer, next) {
                Step::Event(event, message) => answer = self.send(event, message),
                Step::Over(response) => {
                    self.finished.response = response;
                    break;
                }
                Step::Cancelled => {
                    self.finished.cancelled = true;
                    self.send(Event::Cancelled, Vec::new());
                    break;
                }
            }
        }
        if self.want_end {
            self.send(Event::End, self.end_event());
        }
        self.finished
    }

    fn send(&mut self, event: Event, message: Vec<u8>) -> Vec<u8> {
        let instance = self.tester.instance().expect("the filter was configured before the exchange");
        instance.on_event(EXCHANGE, event, Buffer::from(message));
        context::with_answer(<[u8]>::to_vec)
    }

    fn step(&mut self, answer: &[u8], next: Next<'_>) -> Step {
        let (verdict, fields) = Fields::of_answer(answer).expect("the answer opens with a verdict");
        self.want_end |= flags(fields.clone()) & flag::WANT_END != 0;
        match verdict {
            Verdict::Pass => self.pass(fields, next),
            Verdict::Run => self.run_next(fields, next),
            Verdict::Respond => Step::Over(applied(Message::own(), fields)),
            Verdict::Deliver => {
                let response = self.response.take().expect("there is a response to deliver");
                Step::Over(applied(response, fields))
            }
            Verdict::Body => self.body(fields),
            Verdict::Fetch => self.fetch(fields),
            Verdict::Sleep => self.sleep(fields),
            Verdict::Done => panic!("`done` answers End and Cancelled alone"),
        }
    }

    fn pass(&mut self, fields: Fields<'_>, next: Next<'_>) -> Step {
        self.finished.passed = true;
        let on_response = first(fields.clone(), tag::ON_RESPONSE).map_or(&[][..], |field| field.payload);
        let reply = self.reply(fields, next);
        match self.received(reply) {
            Some(response) => Step::Over(applied(response, Fields::new(on_response))),
            None => Step::Cancelled,
        }
    }

    fn run_next(&mut self, fields: Fields<'_>, next: Next<'_>) -> Step {
        let reply = self.reply(fields, next);
        let Some(response) = self.received(reply) else { return Step::Cancelled };
        let mut message = Vec::new();
        response.put(&mut message);
        wire::put_u32(&mut message, tag::FLAGS, self.response_flags(&response));
        wire::put_duration(&mut message, tag::UPSTREAM_DURATION, self.elapsed());
        self.response = Some(response);
        Step::Event(Event::Response, message)
    }

    /// Applies the changes to the host's copy and asks what is behind the filter.
    fn reply(&mut self, fields: Fields<'_>, next: Next<'_>) -> Reply {
        self.request.deadline = None;
        self.request.complete = false;
        self.request.attempt += 1;
        self.tester.set_attribute(Attribute::Attempts, self.request.attempt.to_string().as_bytes());
        fields.for_each(|field| self.request.apply(field.expect("the answer is well formed")));
        self.finished.sent.push(self.request.clone());
        if self.request.attempt > 1 && !self.replayable() {
            return Reply::error(ErrorKind::ReplayLimit);
        }
        next(&self.request).within(self.request.deadline, ErrorKind::PerTryTimeout)
    }

    fn received(&mut self, reply: Reply) -> Option<Message> {
        self.tester.advance(reply.delay);
        match reply.kind {
            ReplyKind::Response(response) => {
                self.upstream_duration = Some(self.elapsed());
                Some(response)
            }
            ReplyKind::Error(kind) => Some(error_response(kind)),
            ReplyKind::ClientGone => None,
        }
    }

    fn body(&mut self, fields: Fields<'_>) -> Step {
        let of_request = flags(fields.clone()) & flag::REQUEST_BODY != 0;
        let body = match &self.response {
            _ if of_request && self.request.attempt > 0 && !self.replayable() => Err(BodyError::Gone),
            _ if of_request => Ok(&self.request.body),
            Some(response) => Ok(&response.body),
            None => Err(BodyError::Gone),
        };
        let mut message = Vec::new();
        match body.and_then(|body| within(body, limit(fields))) {
            Ok(body) => wire::put_bytes(&mut message, tag::DATA, body),
            Err(error) => wire::put_u32(&mut message, tag::BODY_ERROR, error.code()),
        }
        Step::Event(Event::Body, message)
    }

    fn fetch(&mut self, fields: Fields<'_>) -> Step {
        let limit = limit(fields.clone());
        let attempt = self.finished.fetched.len() as u32 + 1;
        let mut sent = SentRequest { attempt, complete: true, ..SentRequest::default() };
        fields.for_each(|field| sent.apply(field.expect("the answer is well formed")));
        let upstream = sent.upstream.take().expect("a fetch names its upstream");
        let reply = (self.tester.on_fetch)(&upstream, &sent).within(sent.deadline, ErrorKind::Timeout);
        self.finished.fetched.push((upstream, sent));
        self.tester.advance(reply.delay);
        let mut message = Vec::new();
        match reply.kind {
            ReplyKind::Response(response) if within(&response.body, limit).is_ok() => {
                response.put(&mut message);
                wire::put_bytes(&mut message, tag::DATA, &response.body);
            }
            ReplyKind::Response(_) => wire::put_u32(&mut message, tag::ERROR, ErrorKind::LimitExceeded.code()),
            ReplyKind::Error(kind) => wire::put_u32(&mut message, tag::ERROR, kind.code()),
            ReplyKind::ClientGone => return Step::Cancelled,
        }
        Step::Event(Event::Fetched, message)
    }

    fn sleep(&mut self, fields: Fields<'_>) -> Step {
        let duration =
            first(fields, tag::DEADLINE).and_then(|field| field.duration().ok()).expect("a sleep has a length");
        self.tester.advance(duration);
        self.finished.slept.push(duration);
        Step::Event(Event::Slept, Vec::new())
    }

    fn request_event(&self) -> Vec<u8> {
        let mut message = Vec::new();
        wire::put_bytes(&mut message, tag::METHOD, self.request.method.as_bytes());
        wire::put_bytes(&mut message, tag::SCHEME, b"http");
        wire::put_bytes(&mut message, tag::AUTHORITY, self.request.authority.as_bytes());
        wire::put_bytes(&mut message, tag::PATH, self.request.path.as_bytes());
        let flags = if self.request.body.is_empty() { flag::NO_BODY } else { 0 };
        wire::put_u32(&mut message, tag::FLAGS, flags);
        put_headers(&mut message, &self.request.headers);
        message
    }

    fn response_flags(&self, response: &Message) -> u32 {
        let no_body = if response.body.is_empty() { flag::NO_BODY } else { 0 };
        let replayable = if self.replayable() { flag::REPLAYABLE } else { 0 };
        no_body | replayable
    }

    fn end_event(&self) -> Vec<u8> {
        let mut message = Vec::new();
        let outcome = match self.finished.cancelled {
            true => meshup_abi::Outcome::ClientAbort,
            false => self.tester.outcome,
        };
        wire::put_u16(&mut message, tag::STATUS, self.finished.status());
        wire::put_duration(&mut message, tag::DURATION, self.elapsed());
        if let Some(duration) = self.upstream_duration {
            wire::put_duration(&mut message, tag::UPSTREAM_DURATION, duration);
        }
        wire::put_u64(&mut message, tag::REQUEST_BYTES, self.request.body.len() as u64);
        wire::put_u64(&mut message, tag::RESPONSE_BYTES, self.finished.body().len() as u64);
        if let Some(status) = self.finished.header("grpc-status").and_then(|status| status.parse().ok()) {
            wire::put_u32(&mut message, tag::GRPC_STATUS, status);
        }
        wire::put_u32(&mut message, tag::OUTCOME, outcome.code());
        message
    }

    fn replayable(&self) -> bool {
        self.tester.replayable || self.request.body.is_empty()
    }

    fn elapsed(&self) -> Duration {
        self.tester.world.borrow().now - self.began
    }
}

fn applied(mut response: Message, fields: Fields<'_>) -> Message {
    fields.for_each(|field| response.apply(field.expect("the answer is well formed")));
    response
}

fn first(fields: Fields<'_>, tag: u16) -> Option<Field<'_>> {
    fields.map_while(Result::ok).find(|field| field.tag == tag)
}

fn flags(fields: Fields<'_>) -> u32 {
    first(fields, tag::FLAGS).and_then(|field| field.u32().ok()).unwrap_or_default()
}

fn limit(fields: Fields<'_>) -> u64 {
    first(fields, tag::LIMIT).and_then(|field| field.u64().ok()).expect("body and fetch bring a limit")
}

fn within(body: &[u8], limit: u64) -> Result<&[u8], BodyError> {
    if body.len() as u64 > limit { Err(BodyError::TooLarge) } else { Ok(body) }
}
