//! The response of an exchange as it stands, on its way outward.
//!
//! It does not know who sees it next.
//!
//! **Invariant:** a response that the host made because of an error says so, whatever filters made of it since.

use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{CONTENT_LENGTH, Entry},
    response,
};
use meshup_abi::ErrorKind;

use crate::{
    body::ResponseSource,
    exchange::{answer::OwnResponse, grpc, head_fields::HeadFields, refusal},
};

/// The response as it stands.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: response::Parts,
    /// The head's headers as filters are told them, while several are.
    pub(super) fields: Option<HeadFields>,
    pub(super) source: ResponseSource,
    /// Why the host made it, if it did.
    pub(super) error: Option<ErrorKind>,
    /// The host or a filter made it, not an upstream.
    pub(super) is_own: bool,
}

impl Reply {
    pub(super) fn new(response: Response<ResponseSource>) -> Self {
        let (head, source) = response.into_parts();
        Self { head, fields: None, source, error: None, is_own: false }
    }

    /// A response that a filter makes.
    pub(super) fn own(own: OwnResponse) -> Self {
        let mut response = Response::new(ResponseSource::Full(own.body));
        *response.status_mut() = own.status;
        *response.headers_mut() = own.headers;
        Self { is_own: true, ..Self::new(response) }
    }

    /// A response the host makes because of `kind`.
    pub(super) fn error(kind: ErrorKind) -> Self {
        let reply = Self::new(refusal::response(kind).map(ResponseSource::Full));
        Self { error: Some(kind), is_own: true, ..reply }
    }

    /// No response yet.
    pub(super) fn none() -> Self {
        Self::new(Response::new(ResponseSource::Empty))
    }

    /// Gives it the form that the caller of a gRPC method understands.
    #[cold]
    pub(super) fn speak_grpc(&mut self) {
        let text = match &self.source {
            ResponseSource::Full(text) => text.clone(),
            _ => Bytes::new(),
        };
        if grpc::convert(&mut self.head, self.error, &text) {
            self.source = ResponseSource::Empty;
        }
    }

    /// Keeps the body from a client that must not get one; what is known of its length stays.
    pub(super) fn drop_body(&mut self) {
        if self.head.status == StatusCode::NO_CONTENT {
            self.head.headers.remove(CONTENT_LENGTH);
        } else if let (ResponseSource::Full(content), Entry::Vacant(length)) =
            (&self.source, self.head.headers.entry(CONTENT_LENGTH))
        {
            length.insert(content.len().into());
        }
        self.source = ResponseSource::Empty;
    }
}
