//! The chain: one exchange walks inward through its filters to the upstream and outward again.
//!
//! [`Exchange::walk`] is the loop; [`Exchange::step`] lets one filter act; [`forward`] asks the upstream. A filter that
//! runs the rest again re-enters it afresh.
//!
//! **Invariant:** at any moment at most one filter or the upstream is at work; filters further out wait for a response
//! or are done.

use std::{
    ops::ControlFlow,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH},
    request,
};
use meshup_abi::{BodyError, ErrorKind, Event, Malformed, Outcome, Overflow};

use super::{
    ExchangeInfo, answer,
    answer::{
        Answer, Decision, FetchRequest, HeaderChanges, Phase, Refused, RequestChanges, ResponseChanges, RestOfRequest,
    },
    completion::{self, Completion, Summary},
    event::{self, Fetched, Told},
    head_fields::HeadFields,
    wishes::Wishes,
};
use crate::{
    body::{RequestSource, ResponseBody, ResponseSource},
    coarse::{CoarseSleep, FAR},
    config::{OnError, Via},
    observe,
    server::Connection,
    upstream::Upstream,
    wasm::{Fault, Ticket, WorkerFilter},
};

mod bounds;
mod forward;
mod reply;

use reply::Reply;

/// Guest calls that one filter may need for one exchange.
const MAX_CALLS: u32 = 10_000;

/// What one filter is doing in an exchange.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing yet, or nothing any more.
    #[default]
    Idle,
    /// It waits for the response of what is behind it.
    Waiting,
    /// It waits for a body, a fetch or the end of a sleep.
    Busy,
}

/// One filter's part in an exchange.
#[derive(Debug, Default)]
struct Slot {
    ticket: Option<Ticket>,
    state: State,
    phase: Option<Phase>,
    want_end: bool,
    /// To be done to the response of a request that it passed on.
    on_response: Option<HeaderChanges>,
    /// Of the present Run.
    deadline: Option<Instant>,
    calls: u32,
}

impl Slot {
    fn is_pending(&self) -> bool {
        self.state != State::Idle
    }

    /// Tells the filter that what it waits for will not come.
    fn cancel(&mut self, info: &mut Option<Box<ExchangeInfo>>) {
        if self.is_pending()
            && let Some(ticket) = &self.ticket
        {
            self.state = State::Idle;
            notify(ticket, Event::Cancelled, info, 0, |_| Ok(()));
        }
    }

    /// The exchange is over for this filter.
    fn finish(&mut self, summary: &Summary, info: &mut Option<Box<ExchangeInfo>>) {
        self.cancel(info);
        let Some(ticket) = self.ticket.take() else { return };
        if self.want_end {
            notify(&ticket, Event::End, info, event::SUMMARY_SIZE, |message| event::write_summary(message, summary));
        }
    }
}

/// Tells a filter something that has no answer. A fault then is the filter's own and was counted.
fn notify(
    ticket: &Ticket,
    event: Event,
    info: &mut Option<Box<ExchangeInfo>>,
    size: usize,
    write: impl FnOnce(&mut event::Message<'_, '_>) -> Result<(), Overflow>,
) {
    let _ = ticket.call(event, info, size, write, |_| Ok::<(), Malformed>(()));
}

/// The parts of all filters of a route, outermost first.
#[derive(Debug)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    pub(super) fn new(filters: usize) -> Self {
        let mut slots = Vec::with_capacity(filters);
        slots.resize_with(filters, Slot::default);
        Self(slots)
    }

    /// The exchange is over: every filter's part ends, outermost first.
    pub(super) fn finish(&mut self, summary: &Summary, info: &mut Option<Box<ExchangeInfo>>) {
        for slot in &mut self.0 {
            slot.finish(summary, info);
        }
    }

    fn any_waiting(&self) -> bool {
        self.0.iter().any(|slot| slot.state == State::Waiting)
    }
}

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

/// A time limit that came while something was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expired {
    /// The whole exchange's.
    Exchange,
    /// The deadline of a filter's Run.
    Run(usize),
    /// The upstream's response time-out.
    Upstream,
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
    pub(super) fn respond(mut self) -> Response<ResponseBody> {
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
    pub(super) async fn walk(&mut self) {
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

    /// A time limit came at filter `at` (or at the upstream): the response says so, and goes on from the returned place.
    fn expire(&mut self, expired: Expired, at: usize) -> usize {
        let (kind, from) = match expired {
            Expired::Run(filter) => (ErrorKind::PerTryTimeout, filter + 1),
            Expired::Upstream => (ErrorKind::Timeout, at),
            Expired::Exchange => {
                self.expired = true;
                (ErrorKind::Timeout, at)
            }
        };
        let Completion { slots, info, .. } = &mut *self.end;
        for slot in slots.0.iter_mut().skip(from) {
            slot.cancel(info);
        }
        self.reply = Reply::error(kind);
        from
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

    /// What filter `at` changes; `head_fields` are kept for the next filter alone.
    fn change_request(&mut self, at: usize, changes: RequestChanges) {
        if at + 1 == self.end.slots.0.len() {
            self.head_fields = None;
        }
        changes.headers.apply(&mut self.head.headers, &mut self.head_fields);
        if let Some(rest) = changes.rest {
            self.change_rest(*rest);
        }
    }

    fn change_rest(&mut self, rest: RestOfRequest) {
        self.head_fields = None;
        if let Some(method) = rest.method {
            self.head.method = method;
        }
        if let Some(path) = rest.path {
            self.head.uri = path.into();
        }
        if let Some(authority) = rest.authority {
            self.head.headers.insert(http::header::HOST, authority);
        }
        if let Some(name) = rest.upstream {
            self.target = self.end.generation.upstream(&name).map_or(Target::Missing, Target::Chosen);
        }
        if let Some(timeout) = rest.timeout {
            self.deadline = Some(self.end.started + timeout);
        }
        if let Some(body) = rest.body {
            self.head.headers.remove(CONTENT_LENGTH);
            self.end.request = Some(RequestSource::replaced(body));
        }
    }

    fn change_response(&mut self, at: usize, changes: ResponseChanges) {
        let Reply { head, fields, source, .. } = &mut self.reply;
        if let Some(status) = changes.status {
            head.status = status;
        }
        if at == 0 {
            *fields = None;
        }
        changes.headers.apply(&mut head.headers, fields);
        if let Some(body) = changes.body {
            head.headers.remove(CONTENT_LENGTH);
            *fields = None;
            *source = ResponseSource::Full(body);
        }
    }

    /// Waits for `work`, but no longer than the exchange and the Runs around filter `at` may take.
    async fn within<T>(&self, at: usize, work: Pin<&mut impl Future<Output = T>>) -> Result<T, Expired> {
        if self.expired {
            return Err(Expired::Exchange);
        }
        until(self.limit(at), Instant::now(), work).await
    }

    /// The earliest deadline around filter `at`.
    fn limit(&self, at: usize) -> Option<(Instant, Expired)> {
        let runs = self.end.slots.0.iter().take(at).enumerate();
        let runs = runs.filter_map(|(filter, slot)| slot.deadline.map(|deadline| (deadline, Expired::Run(filter))));
        let exchange = self.deadline.map(|deadline| (deadline, Expired::Exchange));
        runs.chain(exchange).min_by_key(|(deadline, _)| *deadline)
    }
}

/// Whether responses of this status end with their head (RFC 9110 sections 15.3.5 and 15.4.5).
fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Waits for `work` until the limit comes; `now` may be a moment ago.
async fn until<T>(
    limit: Option<(Instant, Expired)>,
    now: Instant,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Expired> {
    let Some((deadline, expired)) = limit else { return Ok(work.await) };
    if deadline.saturating_duration_since(now) < FAR {
        return tokio::time::timeout_at(deadline.into(), work).await.map_err(|_elapsed| expired);
    }
    let mut timer = pin!(CoarseSleep::until(deadline));
    std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| Err(expired)),
    })
    .await
}
