//! A request kept in case its HTTP/2 upstream says that it did nothing with it: the stream was refused, or lies beyond the
//! last one of a GOAWAY (RFC 9113 section 8.7).
//!
//! It does not decide where the request goes then.
//!
//! **Invariant:** what the upstream may have seen the body of is not sent again, whatever it says, unless the body was
//! kept.

use std::rc::Rc;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Method, Request, Uri, Version};

use crate::{
    body::{RequestBody, RequestSource},
    cause,
};

/// Whether the upstream says that it did not process the request of this error.
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    // The end of a connection behind a GOAWAY is an I/O error: only streams beyond the last one get the GOAWAY itself.
    cause::of::<h2::Error>(error).is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
    })
}

/// A request in the form of HTTP/2, to be sent once more.
#[derive(Debug)]
pub(super) struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Kept,
}

#[derive(Debug)]
enum Kept {
    Empty,
    Full(Bytes),
    Source(Rc<RequestSource>),
}

impl Spare {
    pub(super) fn of(request: &Request<RequestBody>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body: match request.body() {
                RequestBody::Empty => Kept::Empty,
                RequestBody::Full(content) => Kept::Full(content.clone()),
                RequestBody::Source(attempt) => Kept::Source(attempt.source()),
            },
        }
    }

    /// The request once more, unless its body is gone.
    pub(super) fn request(self) -> Option<Request<RequestBody>> {
        let mut request = Request::new(self.body.again()?);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        Some(request)
    }
}

impl Kept {
    fn again(self) -> Option<RequestBody> {
        match self {
            Self::Empty => Some(RequestBody::Empty),
            Self::Full(content) => Some(RequestBody::Full(content)),
            Self::Source(source) => source.is_whole().then(|| source.attempt()),
        }
    }
}
