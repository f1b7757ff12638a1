//! What a filter is told: heads and results as messages.
//!
//! Sizes are upper bounds, so that the guest is asked for a large enough buffer once.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use meshup_abi::{BodyError, ErrorKind, Event, Overflow, SliceSink, Writer, flag, tag};

use super::{completion::Summary, head_fields::HeadFields};

/// A message under way into a guest's memory.
pub(super) type Message<'a, 'b> = Writer<'a, SliceSink<'b>>;

/// The bytes of all fields of fixed size, generously.
const FIXED: usize = 160;

/// The answer to a fetch.
#[derive(Debug)]
pub(super) struct Fetched {
    pub status: StatusCode,
    pub fields: HeadFields,
    pub body: Bytes,
}

/// What a filter is told that it has to answer.
#[derive(Debug)]
pub(super) enum Told<'a> {
    Request {
        fields: &'a HeadFields,
        flags: u32,
    },
    /// `error` tells that the host made it.
    Response {
        status: StatusCode,
        fields: &'a HeadFields,
        error: Option<ErrorKind>,
        flags: u32,
        upstream_duration: Option<Duration>,
    },
    Body(Result<&'a Bytes, BodyError>),
    Fetched(Result<&'a Fetched, ErrorKind>),
    Slept,
}

impl Told<'_> {
    pub(super) fn event(&self) -> Event {
        match self {
            Self::Request { .. } => Event::Request,
            Self::Response { .. } => Event::Response,
            Self::Body(_) => Event::Body,
            Self::Fetched(_) => Event::Fetched,
            Self::Slept => Event::Slept,
        }
    }

    /// Room for the message, bytes.
    pub(super) fn size(&self) -> usize {
        let variable = match self {
            Self::Request { fields, .. } | Self::Response { fields, .. } => fields.len(),
            Self::Body(Ok(body)) => body.len(),
            Self::Fetched(Ok(fetched)) => fetched.fields.len() + fetched.body.len(),
            Self::Body(Err(_)) | Self::Fetched(Err(_)) | Self::Slept => 0,
        };
        FIXED + variable
    }

    pub(super) fn write(&self, message: &mut Message<'_, '_>) -> Result<(), Overflow> {
        match self {
            Self::Request { fields, flags } => fields.write(message, |before| before.u32(tag::FLAGS, *flags)),
            Self::Response { status, fields, error, flags, upstream_duration } => fields.write(message, |before| {
                before.u16(tag::STATUS, status.as_u16())?;
                before.u32(tag::FLAGS, *flags)?;
                if let Some(error) = error {
                    before.u32(tag::ERROR, error.code())?;
                }
                if let Some(duration) = upstream_duration {
                    before.duration(tag::UPSTREAM_DURATION, *duration)?;
                }
                Ok(())
            }),
            Self::Body(Ok(body)) => message.bytes(tag::DATA, body),
            Self::Body(Err(error)) => message.u32(tag::BODY_ERROR, error.code()),
            Self::Fetched(Ok(fetched)) => {
                fetched.fields.write(message, |before| before.u16(tag::STATUS, fetched.status.as_u16()))?;
                message.bytes(tag::DATA, &fetched.body)
            }
            Self::Fetched(Err(error)) => message.u32(tag::ERROR, error.code()),
            Self::Slept => Ok(()),
        }
    }
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
