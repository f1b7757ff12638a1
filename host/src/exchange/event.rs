//! What a filter is told: heads and results as messages.
//!
//! Sizes are upper bounds, so that the guest is asked for a large enough buffer once.

use http::{HeaderMap, HeaderValue, header::HOST, request, response};
use meshup_abi::{BodyError, ErrorKind, Overflow, SliceSink, Writer, flag, tag};

use super::completion::Summary;

/// A message under way into a guest's memory.
pub(super) type Message<'a, 'b> = Writer<'a, SliceSink<'b>>;

/// The bytes that frame a pair.
const PAIR: usize = 10;
/// The bytes of all fields of fixed size, generously.
const FIXED: usize = 160;

/// Room for a request head.
pub(super) fn request_size(head: &request::Parts) -> usize {
    let target = head.uri.path_and_query().map_or(1, |path| path.as_str().len());
    FIXED + head.method.as_str().len() + target + headers_size(&head.headers)
}

/// Writes a request head; `host` is told as the authority.
pub(super) fn write_request(
    message: &mut Message<'_, '_>,
    head: &request::Parts,
    scheme: &str,
    flags: u32,
) -> Result<(), Overflow> {
    message.bytes(tag::METHOD, head.method.as_str().as_bytes())?;
    message.bytes(tag::SCHEME, scheme.as_bytes())?;
    message.bytes(tag::AUTHORITY, head.headers.get(HOST).map_or(b"", HeaderValue::as_bytes))?;
    message.bytes(tag::PATH, head.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes())?;
    message.u32(tag::FLAGS, flags)?;
    for (name, value) in &head.headers {
        if *name != HOST {
            message.pair(tag::HEADER, name.as_str().as_bytes(), value.as_bytes())?;
        }
    }
    Ok(())
}

/// Room for a response head.
pub(super) fn response_size(head: &response::Parts) -> usize {
    FIXED + headers_size(&head.headers)
}

/// Writes a response head; `error` tells that the host made it.
pub(super) fn write_response(
    message: &mut Message<'_, '_>,
    head: &response::Parts,
    error: Option<ErrorKind>,
    flags: u32,
    upstream: Option<std::time::Duration>,
) -> Result<(), Overflow> {
    message.u16(tag::STATUS, head.status.as_u16())?;
    message.u32(tag::FLAGS, flags)?;
    if let Some(error) = error {
        message.u32(tag::ERROR, error.code())?;
    }
    if let Some(duration) = upstream {
        message.duration(tag::UPSTREAM_DURATION, duration)?;
    }
    write_headers(message, &head.headers)
}

fn write_headers(message: &mut Message<'_, '_>, headers: &HeaderMap) -> Result<(), Overflow> {
    for (name, value) in headers {
        message.pair(tag::HEADER, name.as_str().as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

fn headers_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| PAIR + name.as_str().len() + value.len()).sum()
}

/// Room for a body.
pub(super) fn body_size(body: &Result<bytes::Bytes, BodyError>) -> usize {
    FIXED + body.as_ref().map_or(0, bytes::Bytes::len)
}

/// Writes a body, or why there is none.
pub(super) fn write_body(
    message: &mut Message<'_, '_>,
    body: &Result<bytes::Bytes, BodyError>,
) -> Result<(), Overflow> {
    match body {
        Ok(content) => message.bytes(tag::DATA, content),
        Err(error) => message.u32(tag::BODY_ERROR, error.code()),
    }
}

/// The answer to a fetch.
#[derive(Debug)]
pub(super) struct Fetched {
    pub head: response::Parts,
    pub body: bytes::Bytes,
}

/// Room for the answer to a fetch.
pub(super) fn fetched_size(fetched: &Result<Fetched, ErrorKind>) -> usize {
    fetched.as_ref().map_or(FIXED, |fetched| response_size(&fetched.head) + fetched.body.len())
}

/// Writes the answer to a fetch, or why there is none.
pub(super) fn write_fetched(
    message: &mut Message<'_, '_>,
    fetched: &Result<Fetched, ErrorKind>,
) -> Result<(), Overflow> {
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => return message.u32(tag::ERROR, error.code()),
    };
    message.u16(tag::STATUS, fetched.head.status.as_u16())?;
    write_headers(message, &fetched.head.headers)?;
    message.bytes(tag::DATA, &fetched.body)
}

/// Room for a summary.
pub(super) const SUMMARY_SIZE: usize = FIXED;

/// Writes how the exchange ended.
pub(super) fn write_summary(message: &mut Message<'_, '_>, summary: &Summary) -> Result<(), Overflow> {
    message.u16(tag::STATUS, summary.status.map_or(0, |status| status.as_u16()))?;
    message.duration(tag::DURATION, summary.duration)?;
    if let Some(duration) = summary.upstream_duration {
        message.duration(tag::UPSTREAM_DURATION, duration)?;
    }
    message.u64(tag::REQUEST_BYTES, summary.request_bytes)?;
    message.u64(tag::RESPONSE_BYTES, summary.response_bytes)?;
    if let Some(status) = summary.grpc_status {
        message.u32(tag::GRPC_STATUS, status)?;
    }
    message.u32(tag::OUTCOME, summary.outcome.code())
}

/// The flags of a request or response event.
pub(super) fn flags(no_body: bool, replayable: bool) -> u32 {
    (if no_body { flag::NO_BODY } else { 0 }) | (if replayable { flag::REPLAYABLE } else { 0 })
}
