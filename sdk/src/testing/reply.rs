//! What is behind the filter in a test: a response, an error, or a client that goes away.
//!
//! **Invariant:** plain data; how late it is only moves the virtual clock.

use std::time::Duration;

use meshup_abi::ErrorKind;

use super::messages::{Headers, Message, copy_headers};
use crate::response::Response;

/// What comes back for a run or a fetch.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) delay: Duration,
    pub(super) kind: ReplyKind,
}

#[derive(Debug, Clone)]
pub(super) enum ReplyKind {
    Response(Message),
    Error(ErrorKind),
    ClientGone,
}

impl Reply {
    /// The host's own response because of an error, such as a refused connection.
    #[must_use]
    pub fn error(kind: ErrorKind) -> Self {
        Self { delay: Duration::ZERO, kind: ReplyKind::Error(kind) }
    }

    /// The client goes away before there is a response.
    #[must_use]
    pub fn client_gone() -> Self {
        Self { delay: Duration::ZERO, kind: ReplyKind::ClientGone }
    }

    /// The same later. Beyond the deadline of a run or fetch it is a time-out instead.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same as it looks under a deadline, beyond which it is `late`.
    pub(super) fn within(self, deadline: Option<Duration>, late: ErrorKind) -> Self {
        match deadline {
            Some(deadline) if self.delay > deadline => Self::error(late).after(deadline),
            _ => self,
        }
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        let body = response.head.body_here().unwrap_or_default().to_vec();
        let message = Message {
            status: response.status(),
            error: None,
            headers: copy_headers(response.headers()),
            body,
            complete: false,
        };
        Self { delay: Duration::ZERO, kind: ReplyKind::Response(message) }
    }
}

impl From<ErrorKind> for Reply {
    fn from(kind: ErrorKind) -> Self {
        Self::error(kind)
    }
}

/// The response the host makes because of an error.
pub(super) fn error_response(kind: ErrorKind) -> Message {
    let status = match kind {
        ErrorKind::Reset | ErrorKind::BadResponse | ErrorKind::NoDestination => 502,
        ErrorKind::Timeout | ErrorKind::PerTryTimeout => 504,
        ErrorKind::ClientAbort | ErrorKind::BadRequest => 400,
        ErrorKind::NoRoute => 404,
        ErrorKind::BodyTimeout => 408,
        ErrorKind::BodyTooLarge => 413,
        ErrorKind::UriTooLong => 414,
        ErrorKind::HeadersTooLarge => 431,
        ErrorKind::ConnectFailure
        | ErrorKind::ReplayLimit
        | ErrorKind::Overloaded
        | ErrorKind::NoUpstream
        | ErrorKind::FilterFault
        | ErrorKind::LimitExceeded => 503,
    };
    let headers: Headers = vec![("x-meshup-error".to_owned(), kind.as_str().into())];
    let body = format!(r#"{{"error":"{kind}"}}"#).into_bytes();
    Message { status, error: Some(kind), headers, body, complete: false }
}
