//! The chain: one exchange walks inward through its filters to the upstream and outward again.
//!
//! [`Exchange::walk`] is the loop; [`Exchange::step`] lets one filter act; [`forward`] asks the upstream. A filter that
//! runs the rest again re-enters it afresh.
//!
//! **Invariant:** at any moment at most one filter or the upstream is at work; filters further out wait for a response
//! or are done.

use std::{
    ops::ControlFlow,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH},
    request,
};
use meshup_abi::{BodyError, ErrorKind, Outcome};

use super::{
    answer,
    answer::{
        Answer, Decision, FetchRequest, HeaderChanges, Phase, Refused, RequestChanges, ResponseChanges, RestOfRequest,
    },
    completion::{self, Completion, Summary},
    event::{self, Fetched, Told},
    head_fields::HeadFields,
    wishes::Wishes,
};
use crate::{
    body::{ResponseBody, ResponseSource},
    config::{OnError, Via},
    observe,
    server::Connection,
    upstream::Upstream,
    wasm::{Fault, WorkerFilter},
};

mod bounds;
mod change;
mod forward;
mod limit;
mod reply;
mod slot;

pub(super) use slot::Slots;

use limit::{Expired, until};
use reply::Reply;
use slot::{Slot, State};

/// Guest calls that one filter may need for one exchange.
const MAX_CALLS: u32 = 10_000;

/// What happened that a filter is to be told.
#[derive(Debug)]
enum Happening {
    Request,
    Response,
    Body(Result<Bytes, BodyError>),
    Fetched(Result<Fetched, ErrorKind>),
    Slept,
}

/// Where the exchange goes after a filter acted.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Inward,
    Outward,
}

/// What a filter wants to wait for.
#[derive(Debug)]
enum Awaited {
    Body { of_request: bool, limit: usize },
    Fetch(Box<FetchRequest>),
    Sleep(Duration),
}

/// Where the request goes.
#[derive(Debug)]
enum Target {
    /// Where the route says.
    Route,
    /// To an upstream a filter chose, or that was chosen before.
    Chosen(Rc<Upstream>),
    /// A filter chose an upstream that is not configured.
    Missing,
}

/// One exchange under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    end: Box<Completion>,
    head: request::Parts,
    /// The head as filters are told it, while several are.
    head_fields: Option<HeadFields>,
    wishes: Wishes,
    scheme: &'static str,
    /// What an upstream's response is marked with.
    via: Option<Arc<Via>>,
    /// The client asked for no body (HEAD).
    head_only: bool,
    /// The client calls a gRPC method.
    is_grpc: bool,
    target: Target,
    deadline: Option<Instant>,
    /// The exchange's own time-out has come: nothing is waited for any more.
    expired: bool,
    /// The head went to an upstream: a further Run must bring a complete one.
    head_sent: bool,
    reply: Reply,
}

impl Exchange {
    pub(super) fn new(
        end: Box<Completion>,
        head: request::Parts,
        wishes: Wishes,
        (connection, is_grpc): (&Connection, bool),
    ) -> Self {
        let deadline = end.route.timeout.map(|timeout| end.started + timeout);
        let head_only = head.method == Method::HEAD;
        Self {
            end,
            head,
            head_fields: None,
            wishes,
            scheme: connection.forwarded.scheme,
            via: connection.listener.via.clone(),
            head_only,
            is_grpc,
            target: Target::Route,
            deadline,
            expired: false,
            head_sent: false,
            reply: Reply::none(),
        }
    }

    /// Answers without the chain.
    pub(super) fn refuse(mut self, kind: ErrorKind) -> Response<ResponseBody> {
        self.reply = Reply::error(kind);
        self.respond()
    }

    /// Hands the response over, once the chain was walked.
    pub(crate) fn respond(mut self) -> Response<ResponseBody> {
        if self.reply.head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.switch();
        }
        if self.wishes.asks_upgrade() && self.reply.head.status != StatusCode::SWITCHING_PROTOCOLS {
            // What the client sent behind its request may be meant for the other protocol.
            self.reply.head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.end.status = Some(self.reply.head.status);
        if let Some(kind) = self.reply.error {
            self.note_error(kind);
        }
        if let Some(request) = &self.end.request {
            request.response_began();
        }
        if self.is_grpc && self.reply.is_own {
            self.reply.speak_grpc();
        }
        if self.head_only || has_no_body(self.reply.head.status) {
            self.reply.drop_body();
        }
        if self.reply.source.is_empty() {
            self.end.grpc_status = completion::grpc_status(&self.reply.head.headers);
        }
        let timer = self.deadline.filter(|_| !self.expired && !self.reply.source.is_empty());
        let timer = timer.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
        Response::from_parts(self.reply.head, ResponseBody::new(self.reply.source, timer, self.end))
    }

    /// The host made the response that the client gets.
    #[cold]
    fn note_error(&mut self, kind: ErrorKind) {
        observe::count_error(kind);
        tracing::debug!(route = &*self.end.route.name, error = %kind, "answered by the host");
        if matches!(kind, ErrorKind::BodyTimeout | ErrorKind::BodyTooLarge) {
            self.reply.head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// The upstream switched protocols, unless a filter put a body in the place of its connection.
    #[cold]
    fn switch(&mut self) {
        if let ResponseSource::Switched(_) = self.reply.source {
            self.reply.head.headers.remove(CONTENT_LENGTH);
            self.wishes.switch(&mut self.reply.head.headers);
        } else {
            self.reply = Reply::error(ErrorKind::BadResponse);
        }
    }

    /// Inward from the outermost filter to the upstream, outward to those who wait, inward again where one runs again.
    pub(crate) async fn walk(&mut self) {
        let filters = self.end.route.clone();
        let filters = &filters.filters;
        let mut at = 0;
        loop {
            at = self.inward(filters, at).await;
            match self.outward(filters, at).await {
                Some(inner) => at = inner,
                None => return,
            }
        }
    }

    /// From filter `at` to the upstream or to the filter that answers; returns how many filters the response passes.
    async fn inward(&mut self, filters: &[Rc<WorkerFilter>], mut at: usize) -> usize {
        while let Some(filter) = filters.get(at) {
            match self.step(filter, at, Happening::Request).await {
                Ok(Step::Inward) => at += 1,
                Ok(Step::Outward) => return at,
                Err(expired) => return self.expire(expired, at),
            }
        }
        match self.forward().await {
            Ok(()) => at,
            Err(expired) => self.expire(expired, at),
        }
    }

    /// Past the filters before `at`, innermost first; `Some` with the filter to enter when one runs the rest again.
    async fn outward(&mut self, filters: &[Rc<WorkerFilter>], mut at: usize) -> Option<usize> {
        while at > 0 {
            at -= 1;
            let (Some(filter), Some(slot)) = (filters.get(at), self.end.slots.0.get_mut(at)) else { return None };
            if let Some(headers) = slot.on_response.take() {
                self.change_ahead(filter, at, headers);
                continue;
            }
            if slot.state != State::Waiting {
                continue;
            }
            slot.state = State::Idle;
            slot.phase = Some(Phase::Response);
            slot.deadline = None;
            match self.step(filter, at, Happening::Response).await {
                Ok(Step::Inward) => return Some(at + 1),
                Ok(Step::Outward) => {}
                Err(expired) => at = self.expire(expired, at),
            }
        }
        None
    }

    /// Lets filter `at` act on what happened, and on what comes of it, until it passes the exchange on.
    async fn step(&mut self, filter: &Rc<WorkerFilter>, at: usize, happening: Happening) -> Result<Step, Expired> {
        let mut happening = happening;
        loop {
            if self.had_its_turn(at) {
                tokio::task::yield_now().await;
            }
            happening = match self.act(filter, at, &happening) {
                ControlFlow::Break(step) => return Ok(step),
                ControlFlow::Continue(awaited) => self.wait(filter, at, awaited).await?,
            };
        }
    }

    /// Tells filter `at` what happened and does what it answers, unless that takes time.
    fn act(&mut self, filter: &Rc<WorkerFilter>, at: usize, happening: &Happening) -> ControlFlow<Step, Awaited> {
        let told = self.tell(filter, at, happening).and_then(|answer| self.fitting(filter, answer));
        let answer = match told {
            Ok(answer) => answer,
            Err(fault) => return ControlFlow::Break(self.fault(filter, at, &fault)),
        };
        ControlFlow::Break(match answer.verdict {
            Decision::Pass(changes, on_response) => {
                self.pass(at, on_response);
                self.change_request(at, changes);
                Step::Inward
            }
            Decision::Run { changes, .. } if self.head_sent && !changes.is_complete() => {
                let fault = filter.malformed(Refused::PartialHead);
                self.fault(filter, at, &fault)
            }
            Decision::Run { changes, deadline } => {
                self.start_run(at, deadline);
                self.change_request(at, changes);
                self.head_sent = false;
                Step::Inward
            }
            Decision::Respond(own) => {
                self.reply = Reply::own(*own);
                Step::Outward
            }
            Decision::Deliver(changes) => {
                self.change_response(at, changes);
                Step::Outward
            }
            Decision::Body { of_request, limit } => return ControlFlow::Continue(Awaited::Body { of_request, limit }),
            Decision::Fetch(fetch) => return ControlFlow::Continue(Awaited::Fetch(fetch)),
            Decision::Sleep(duration) => return ControlFlow::Continue(Awaited::Sleep(duration)),
        })
    }

    /// Waits for what filter `at` asked for.
    async fn wait(&mut self, filter: &WorkerFilter, at: usize, awaited: Awaited) -> Result<Happening, Expired> {
        // What does not fit the guest's memory could not be handed over.
        let most = filter.filter().spec().limits.memory_bytes;
        self.enter(at, State::Busy);
        let happening = match awaited {
            Awaited::Body { of_request, limit } => {
                Happening::Body(self.read_body(at, of_request, limit.min(most)).await?)
            }
            // Boxed: its state is large, and every exchange would have the room for it.
            Awaited::Fetch(fetch) => Happening::Fetched(Box::pin(self.fetch(at, fetch, most)).await?),
            Awaited::Sleep(duration) => {
                self.within(at, pin!(tokio::time::sleep(duration))).await?;
                Happening::Slept
            }
        };
        self.enter(at, State::Idle);
        Ok(happening)
    }

    /// Tells filter `at` what happened and reads its answer.
    fn tell(&mut self, filter: &Rc<WorkerFilter>, at: usize, happening: &Happening) -> Result<Answer, Fault> {
        let replayable = self.end.request.as_ref().is_none_or(|source| source.replayable());
        let Completion { slots, info, upstream_duration, request, .. } = &mut *self.end;
        let (head, head_fields, scheme) = (&self.head, &mut self.head_fields, self.scheme);
        let Reply { head: reply, fields: reply_fields, source, error, .. } = &mut self.reply;
        let Some(slot) = slots.0.get_mut(at) else { return Err(filter.exhausted(MAX_CALLS)) };
        slot.calls += 1;
        if slot.calls > MAX_CALLS {
            return Err(filter.exhausted(MAX_CALLS));
        }
        let phase = *slot.phase.get_or_insert(Phase::Request);
        let ticket = match &slot.ticket {
            Some(ticket) => ticket,
            None => slot.ticket.insert(filter.enter()?),
        };
        let told = match happening {
            Happening::Request => Told::Request {
                fields: head_fields.get_or_insert_with(|| HeadFields::of_request(head, scheme)),
                flags: event::flags(request.is_none(), replayable),
            },
            Happening::Response => Told::Response {
                status: reply.status,
                fields: reply_fields.get_or_insert_with(|| HeadFields::of_response(&reply.headers)),
                error: *error,
                flags: event::flags(source.is_empty(), replayable),
                upstream_duration: *upstream_duration,
            },
            Happening::Body(body) => Told::Body(body.as_ref().map_err(|error| *error)),
            Happening::Fetched(fetched) => Told::Fetched(fetched.as_ref().map_err(|error| *error)),
            Happening::Slept => Told::Slept,
        };
        let answer = ticket.call(
            told.event(),
            info,
            told.size(),
            |message| told.write(message),
            |message| answer::read(message, phase),
        )?;
        slot.want_end |= answer.want_end;
        Ok(answer)
    }

    /// Filter `at` failed: what the exchange gets is the configuration's choice.
    fn fault(&mut self, filter: &WorkerFilter, at: usize, fault: &Fault) -> Step {
        tracing::debug!(error = %fault, "filter fault");
        let phase = self.end.slots.0.get_mut(at).and_then(|slot| {
            slot.state = State::Idle;
            slot.ticket = None;
            slot.phase
        });
        match (filter.on_error(), phase) {
            (OnError::Bypass, Some(Phase::Response)) => Step::Outward,
            (OnError::Bypass, _) => Step::Inward,
            (OnError::Deny, _) => {
                self.reply = Reply::error(ErrorKind::FilterFault);
                Step::Outward
            }
        }
    }

    fn enter(&mut self, at: usize, state: State) {
        if let Some(slot) = self.end.slots.0.get_mut(at) {
            slot.state = state;
        }
    }

    /// Filter `at` is done, but for changes to the headers of the response that comes outward.
    fn pass(&mut self, at: usize, on_response: HeaderChanges) {
        if let Some(slot) = self.end.slots.0.get_mut(at).filter(|_| !on_response.is_empty()) {
            slot.on_response = Some(on_response);
        }
    }

    /// Filter `at` wants the response of everything behind it.
    fn start_run(&mut self, at: usize, deadline: Option<Duration>) {
        let Some(slot) = self.end.slots.0.get_mut(at) else { return };
        slot.state = State::Waiting;
        slot.deadline = deadline.map(|deadline| Instant::now() + deadline);
        if slot.phase == Some(Phase::Response) {
            self.end_run(at);
        }
    }

    /// What an earlier Run of filter `at` left behind it ends.
    fn end_run(&mut self, at: usize) {
        let summary = Summary { status: Some(self.reply.head.status), ..self.end.summary(Outcome::Complete) };
        let Completion { slots, info, .. } = &mut *self.end;
        for slot in slots.0.iter_mut().skip(at + 1) {
            slot.finish(&summary, info);
            *slot = Slot::default();
        }
        self.reply = Reply::none();
    }
}

/// Whether responses of this status end with their head (RFC 9110 sections 15.3.5 and 15.4.5).
fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
