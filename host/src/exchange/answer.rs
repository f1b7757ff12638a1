//! What a filter answers: read once from its memory into checked values.
//!
//! This is the one place that decides which changes a filter may make. Nothing of an answer is applied before all of it
//! has been read.
//!
//! **Invariant:** an [`Answer`] holds valid HTTP only.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header::HOST, uri::PathAndQuery};
use meshup_abi::{Field, Fields, Malformed, Verdict, flag, headers, tag};

use super::{authority, head, head_fields::HeadFields, known, names};

/// Fields of one answer. Reading one is the host's time, not the guest's, and a head of a listener has at most 4,096.
const MAX_FIELDS: usize = 8192;
/// Fields of a head after changes; `HeaderMap` panics above 24,576.
const MAX_HEAD_FIELDS: usize = 2 * MAX_FIELDS;

/// Why an answer is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("malformed answer: {0}")]
    Malformed(#[from] Malformed),
    #[error("{verdict} is no answer to this event")]
    Verdict { verdict: Verdict },
    #[error("{what} {value:?} is not valid")]
    Invalid { what: &'static str, value: String },
    #[error("header {0:?} belongs to the host and may not be changed")]
    HostHeader(String),
    #[error("run after the request was sent, without a complete head")]
    PartialHead,
    #[error("more than {MAX_FIELDS} fields in one answer")]
    TooManyFields,
    #[error("a head with more than {MAX_HEAD_FIELDS} fields")]
    HeadTooLong,
    #[error("{verdict} without its {missing}")]
    Incomplete { verdict: Verdict, missing: &'static str },
}

/// An answer and what it asks of the end.
#[derive(Debug)]
pub(super) struct Answer {
    pub verdict: Decision,
    pub want_end: bool,
}

/// A verdict with what belongs to it.
#[derive(Debug)]
pub(super) enum Decision {
    /// The second ones are for the headers of the response to come.
    Pass(RequestChanges, HeaderChanges),
    Run {
        changes: RequestChanges,
        deadline: Option<Duration>,
    },
    Respond(Box<OwnResponse>),
    Deliver(ResponseChanges),
    Body {
        of_request: bool,
        limit: usize,
    },
    Fetch(Box<FetchRequest>),
    Sleep(Duration),
}

/// Which half of the exchange a filter is in: it bounds what it may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Request,
    Response,
}

/// Changes to a request head.
#[derive(Debug)]
pub(super) struct RequestChanges {
    pub headers: HeaderChanges,
    /// Most filters change headers alone; what is moved about stays small.
    pub rest: Option<Box<RestOfRequest>>,
}

/// Changes to a request besides its headers.
#[derive(Debug, Default)]
pub(super) struct RestOfRequest {
    pub method: Option<Method>,
    pub path: Option<PathAndQuery>,
    pub authority: Option<HeaderValue>,
    pub upstream: Option<Box<str>>,
    pub timeout: Option<Duration>,
    pub body: Option<Bytes>,
}

impl RequestChanges {
    const NONE: Self = Self { headers: HeaderChanges::NONE, rest: None };

    /// Whether they make up a whole head, whatever stood there before.
    pub(super) fn is_complete(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.method.is_some() && rest.path.is_some())
            && self.headers.begin_afresh()
    }
}

/// Changes to a response head.
#[derive(Debug)]
pub(super) struct ResponseChanges {
    pub status: Option<StatusCode>,
    pub headers: HeaderChanges,
    pub body: Option<Bytes>,
}

/// A response that the filter made.
#[derive(Debug)]
pub(super) struct OwnResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A request of the filter's own.
#[derive(Debug)]
pub(super) struct FetchRequest {
    pub upstream: Box<str>,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub deadline: Option<Duration>,
    pub limit: usize,
}

/// Changes to the fields of a head, in their order.
#[derive(Debug)]
pub(super) enum HeaderChanges {
    Own(Vec<HeaderChange>),
    /// Those of an answer that was given before.
    Known(Rc<[HeaderChange]>),
}

impl HeaderChanges {
    const NONE: Self = Self::Own(Vec::new());

    fn as_slice(&self) -> &[HeaderChange] {
        match self {
            Self::Own(changes) => changes,
            Self::Known(changes) => changes,
        }
    }

    fn begin_afresh(&self) -> bool {
        matches!(self.as_slice().first(), Some(HeaderChange::Clear))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Refuses changes that could make more of a head than a map of headers takes.
    pub(super) fn check_fit(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let kept = if self.begin_afresh() { 0 } else { headers.len() };
        if kept + self.as_slice().len() <= MAX_HEAD_FIELDS { Ok(()) } else { Err(Refused::HeadTooLong) }
    }

    /// Keeps them for the next answer that is the same.
    pub(super) fn share(&mut self) -> Rc<[HeaderChange]> {
        let shared = match self {
            Self::Own(changes) => std::mem::take(changes).into(),
            Self::Known(changes) => changes.clone(),
        };
        *self = Self::Known(shared.clone());
        shared
    }

    /// Applies them to a head and to its `fields` where they are kept.
    pub(super) fn apply(self, headers: &mut HeaderMap, fields: &mut Option<HeadFields>) {
        match self {
            Self::Own(changes) => changes.into_iter().for_each(|change| change.apply(headers, fields)),
            Self::Known(changes) => changes.iter().for_each(|change| change.apply_again(headers, fields)),
        }
    }
}

/// One change to a head's fields.
#[derive(Debug, Clone)]
pub(super) enum HeaderChange {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Remove(HeaderName),
    /// Everything but what the host owns.
    Clear,
}

impl HeaderChange {
    fn apply(self, headers: &mut HeaderMap, fields: &mut Option<HeadFields>) {
        match self {
            Self::Set(name, value) => set(&name, value, headers, fields),
            Self::Append(name, value) => append(&name, value, headers, fields),
            Self::Remove(_) | Self::Clear => self.apply_again(headers, fields),
        }
    }

    /// The same, to be applied to other heads too.
    fn apply_again(&self, headers: &mut HeaderMap, fields: &mut Option<HeadFields>) {
        match self {
            Self::Set(name, value) => set(name, value.clone(), headers, fields),
            Self::Append(name, value) => append(name, value.clone(), headers, fields),
            Self::Remove(name) => {
                if let (Some(_), Some(fields)) = (headers.remove(name), fields) {
                    fields.remove(name);
                }
            }
            Self::Clear => {
                *headers = head::owned_by_host(headers);
                *fields = None;
            }
        }
    }
}

fn set(name: &HeaderName, value: HeaderValue, headers: &mut HeaderMap, fields: &mut Option<HeadFields>) {
    let at = fields.as_mut().map(|fields| fields.append(name, &value));
    let replaced = headers.insert(name, value).is_some();
    if let (true, Some(fields), Some(at)) = (replaced, fields, at) {
        fields.remove_before(at, name);
    }
}

fn append(name: &HeaderName, value: HeaderValue, headers: &mut HeaderMap, fields: &mut Option<HeadFields>) {
    if let Some(fields) = fields {
        fields.append(name, &value);
    }
    headers.append(name, value);
}

/// Reads the answer to an event of `phase`.
///
/// # Errors
/// [`Refused`]: the whole answer is a fault of the filter.
pub(super) fn read(message: &[u8], phase: Phase) -> Result<Answer, Refused> {
    let (verdict, fields) = Fields::of_answer(message)?;
    let occasion = (verdict, phase);
    if occasion == (Verdict::Pass, Phase::Request) && fields.rest().is_empty() {
        return Ok(Answer { verdict: Decision::Pass(RequestChanges::NONE, HeaderChanges::NONE), want_end: false });
    }
    let mut behind = fields.clone();
    match (verdict, behind.next()) {
        (Verdict::Pass | Verdict::Run, Some(Ok(field))) if field.tag == tag::PATH => {
            let answer = known::answer(occasion, behind.rest(), || read_anew(occasion, behind.clone()))?;
            with_path(answer, path(&field)?)
        }
        _ => known::answer(occasion, fields.rest(), || read_anew(occasion, fields.clone())),
    }
}

/// A path that comes first is read by itself: it is another one for most requests, and what follows is the same. A later
/// one takes its place.
fn with_path(mut answer: Answer, path: PathAndQuery) -> Result<Answer, Refused> {
    if let Decision::Pass(changes, _) | Decision::Run { changes, .. } = &mut answer.verdict {
        changes.rest.get_or_insert_default().path.get_or_insert(path);
    }
    Ok(answer)
}

/// Reads an answer and makes its changes to `headers`, for the micro-benchmarks.
///
/// # Errors
/// [`Refused`]
#[cfg(feature = "bench")]
pub(crate) fn apply(event: meshup_abi::Event, message: &[u8], headers: &mut HeaderMap) -> Result<(), Refused> {
    let phase = if event == meshup_abi::Event::Response { Phase::Response } else { Phase::Request };
    match read(message, phase)?.verdict {
        Decision::Pass(RequestChanges { headers: changes, .. }, _)
        | Decision::Run { changes: RequestChanges { headers: changes, .. }, .. }
        | Decision::Deliver(ResponseChanges { headers: changes, .. }) => changes.apply(headers, &mut None),
        _ => {}
    }
    Ok(())
}

fn read_anew((verdict, phase): (Verdict, Phase), fields: Fields<'_>) -> Result<Answer, Refused> {
    let mut want_end = false;
    let fields = Reader { fields, want_end: &mut want_end };
    let verdict = match (verdict, phase) {
        (Verdict::Pass, Phase::Request) => fields.pass()?,
        (Verdict::Run, _) => {
            let (changes, deadline) = fields.request_changes()?;
            Decision::Run { changes, deadline }
        }
        (Verdict::Respond, _) => Decision::Respond(Box::new(fields.own_response()?)),
        (Verdict::Deliver, Phase::Response) => Decision::Deliver(fields.response_changes()?),
        (Verdict::Body, _) => fields.body()?,
        (Verdict::Fetch, _) => Decision::Fetch(Box::new(fields.fetch()?)),
        (Verdict::Sleep, _) => fields.sleep()?,
        (Verdict::Pass | Verdict::Deliver | Verdict::Done, _) => return Err(Refused::Verdict { verdict }),
    };
    Ok(Answer { verdict, want_end })
}

struct Reader<'a> {
    fields: Fields<'a>,
    want_end: &'a mut bool,
}

impl Reader<'_> {
    /// Every field but the flags, which mean the same everywhere but for Body.
    fn each(self, mut take: impl FnMut(Field<'_>) -> Result<(), Refused>) -> Result<(), Refused> {
        for (count, field) in self.fields.enumerate() {
            let field = field?;
            check_count(count)?;
            if field.tag == tag::FLAGS {
                *self.want_end |= field.u32()? & flag::WANT_END != 0;
            }
            take(field)?;
        }
        Ok(())
    }

    fn pass(self) -> Result<Decision, Refused> {
        let mut on_response = Vec::new();
        let mut read = 0;
        for (count, field) in self.fields.clone().enumerate() {
            let field = field?;
            check_count(count)?;
            if field.tag == tag::ON_RESPONSE {
                for field in Fields::new(field.payload) {
                    check_count(read)?;
                    read += 1;
                    header_change(&field?, &mut on_response)?;
                }
            }
        }
        Ok(Decision::Pass(self.request_changes()?.0, HeaderChanges::Own(on_response)))
    }

    fn request_changes(self) -> Result<(RequestChanges, Option<Duration>), Refused> {
        let (mut headers, mut deadline) = (Vec::new(), None);
        let mut rest: Option<Box<RestOfRequest>> = None;
        self.each(|field| {
            match field.tag {
                tag::METHOD => rest.get_or_insert_default().method = Some(method(&field)?),
                tag::PATH => rest.get_or_insert_default().path = Some(path(&field)?),
                tag::AUTHORITY => rest.get_or_insert_default().authority = Some(authority(&field)?),
                tag::UPSTREAM => rest.get_or_insert_default().upstream = Some(field.text()?.into()),
                tag::TIMEOUT => rest.get_or_insert_default().timeout = Some(field.duration()?),
                tag::DEADLINE => deadline = Some(field.duration()?),
                tag::DATA => rest.get_or_insert_default().body = Some(Bytes::copy_from_slice(field.payload)),
                _ => header_change(&field, &mut headers)?,
            }
            Ok(())
        })?;
        Ok((RequestChanges { headers: HeaderChanges::Own(headers), rest }, deadline))
    }

    fn response_changes(self) -> Result<ResponseChanges, Refused> {
        let (mut status, mut headers, mut body) = (None, Vec::new(), None);
        self.each(|field| {
            match field.tag {
                tag::STATUS => status = Some(self::status(&field)?),
                tag::DATA => body = Some(Bytes::copy_from_slice(field.payload)),
                _ => header_change(&field, &mut headers)?,
            }
            Ok(())
        })?;
        Ok(ResponseChanges { status, headers: HeaderChanges::Own(headers), body })
    }

    fn own_response(self) -> Result<OwnResponse, Refused> {
        let mut response = OwnResponse { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() };
        let mut status_given = false;
        self.each(|field| {
            match field.tag {
                tag::STATUS => {
                    response.status = status(&field)?;
                    status_given = true;
                }
                tag::HEADER => own_header(&field, &mut response.headers)?,
                tag::DATA => response.body = Bytes::copy_from_slice(field.payload),
                _ => {}
            }
            Ok(())
        })?;
        if !status_given {
            return Err(Refused::Incomplete { verdict: Verdict::Respond, missing: "status" });
        }
        Ok(response)
    }

    fn body(self) -> Result<Decision, Refused> {
        let (mut of_request, mut limit) = (false, None);
        self.each(|field| {
            match field.tag {
                tag::FLAGS => of_request = field.u32()? & flag::REQUEST_BODY != 0,
                tag::LIMIT => limit = Some(field.u64()?),
                _ => {}
            }
            Ok(())
        })?;
        let limit = limit.ok_or(Refused::Incomplete { verdict: Verdict::Body, missing: "limit" })?;
        Ok(Decision::Body { of_request, limit: usize::try_from(limit).unwrap_or(usize::MAX) })
    }

    fn sleep(self) -> Result<Decision, Refused> {
        let mut duration = None;
        self.each(|field| {
            if field.tag == tag::DEADLINE {
                duration = Some(field.duration()?);
            }
            Ok(())
        })?;
        let missing = Refused::Incomplete { verdict: Verdict::Sleep, missing: "duration" };
        duration.map(Decision::Sleep).ok_or(missing)
    }

    fn fetch(self) -> Result<FetchRequest, Refused> {
        let mut fetch = FetchRequest {
            upstream: "".into(),
            method: Method::GET,
            uri: Uri::from_static("/"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            deadline: None,
            limit: 0,
        };
        self.each(|field| {
            match field.tag {
                tag::UPSTREAM => fetch.upstream = field.text()?.into(),
                tag::METHOD => fetch.method = method(&field)?,
                tag::PATH => fetch.uri = path(&field)?.into(),
                tag::AUTHORITY => drop(fetch.headers.insert(HOST, authority(&field)?)),
                tag::HEADER => own_header(&field, &mut fetch.headers)?,
                tag::DATA => fetch.body = Bytes::copy_from_slice(field.payload),
                tag::DEADLINE => fetch.deadline = Some(field.duration()?),
                tag::LIMIT => fetch.limit = usize::try_from(field.u64()?).unwrap_or(usize::MAX),
                _ => {}
            }
            Ok(())
        })?;
        if fetch.upstream.is_empty() {
            return Err(Refused::Incomplete { verdict: Verdict::Fetch, missing: "upstream" });
        }
        Ok(fetch)
    }
}

/// `before` fields were read already.
fn check_count(before: usize) -> Result<(), Refused> {
    if before < MAX_FIELDS { Ok(()) } else { Err(Refused::TooManyFields) }
}

fn header_change(field: &Field<'_>, changes: &mut Vec<HeaderChange>) -> Result<(), Refused> {
    match field.tag {
        tag::HEADER_SET => {
            let (name, value) = header(field)?;
            changes.push(HeaderChange::Set(changeable(name)?, value));
        }
        // After a Clear the complete list follows, and the host's own fields in it stay as they are.
        tag::HEADER => {
            let (name, value) = header(field)?;
            let complete = matches!(changes.first(), Some(HeaderChange::Clear));
            match changeable(name) {
                Ok(name) => changes.push(HeaderChange::Append(name, value)),
                Err(_) if complete => {}
                Err(refused) => return Err(refused),
            }
        }
        tag::HEADER_REMOVE => changes.push(HeaderChange::Remove(changeable(header_name(field.payload)?)?)),
        tag::HEADERS_CLEAR => {
            changes.clear();
            changes.push(HeaderChange::Clear);
        }
        _ => {}
    }
    Ok(())
}

/// A header of a message that the filter makes whole; fields that frame it are made by the host.
fn own_header(field: &Field<'_>, headers: &mut HeaderMap) -> Result<(), Refused> {
    let (name, value) = header(field)?;
    if let Ok(name) = changeable(name) {
        headers.append(name, value);
    }
    Ok(())
}

fn header(field: &Field<'_>) -> Result<(HeaderName, HeaderValue), Refused> {
    let (name, value) = field.pair()?;
    let name = header_name(name)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| invalid("header value", value))?;
    Ok((name, value))
}

fn header_name(name: &[u8]) -> Result<HeaderName, Refused> {
    names::header_name(name).map_err(|_| invalid("header name", name))
}

fn changeable(name: HeaderName) -> Result<HeaderName, Refused> {
    if headers::is_host_owned(name.as_str().as_bytes()) {
        return Err(Refused::HostHeader(name.as_str().into()));
    }
    Ok(name)
}

fn method(field: &Field<'_>) -> Result<Method, Refused> {
    let method = Method::from_bytes(field.payload).map_err(|_| invalid("method", field.payload))?;
    if method == Method::CONNECT { Err(invalid("method", field.payload)) } else { Ok(method) }
}

fn path(field: &Field<'_>) -> Result<PathAndQuery, Refused> {
    let parsed = PathAndQuery::try_from(field.payload).ok();
    // A fragment would be dropped in silence.
    let path = parsed.filter(|path| path.as_str().len() == field.payload.len());
    let path = path.ok_or_else(|| invalid("path", field.payload))?;
    if path.as_str().starts_with('/') || path == "*" { Ok(path) } else { Err(invalid("path", field.payload)) }
}

fn authority(field: &Field<'_>) -> Result<HeaderValue, Refused> {
    let value = HeaderValue::from_bytes(field.payload).ok().filter(|value| authority::is_authority(value.as_bytes()));
    value.ok_or_else(|| invalid("authority", field.payload))
}

fn status(field: &Field<'_>) -> Result<StatusCode, Refused> {
    let status = field.u16()?;
    let valid = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
    valid.ok_or_else(|| Refused::Invalid { what: "status", value: status.to_string() })
}

fn invalid(what: &'static str, value: &[u8]) -> Refused {
    let shown = value.get(..64).unwrap_or(value);
    Refused::Invalid { what, value: String::from_utf8_lossy(shown).into_owned() }
}
