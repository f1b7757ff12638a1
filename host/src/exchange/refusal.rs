//! What a client gets when the host answers by itself, in one place: status, body, header, metric label, log field.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use meshup_abi::ErrorKind;

/// The header that names the error of a response the host made.
pub(crate) const X_MESHUP_ERROR: HeaderName = HeaderName::from_static("x-meshup-error");

/// The status of a response the host makes because of `kind`.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::BadRequest | ErrorKind::ClientAbort => StatusCode::BAD_REQUEST,
        ErrorKind::NoRoute => StatusCode::NOT_FOUND,
        ErrorKind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::UriTooLong => StatusCode::URI_TOO_LONG,
        ErrorKind::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorKind::Reset | ErrorKind::BadResponse | ErrorKind::ReplayLimit | ErrorKind::NoDestination => {
            StatusCode::BAD_GATEWAY
        }
        ErrorKind::Timeout | ErrorKind::PerTryTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::ConnectFailure
        | ErrorKind::Overloaded
        | ErrorKind::NoUpstream
        | ErrorKind::FilterFault
        | ErrorKind::LimitExceeded => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Why, in words.
pub(super) fn explanation(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectFailure => "no connection to the upstream could be made",
        ErrorKind::Reset => "the upstream broke the connection before it answered",
        ErrorKind::Timeout => "the upstream did not answer in time",
        ErrorKind::PerTryTimeout => "the attempt took longer than its deadline",
        ErrorKind::BadResponse => "the upstream's answer is not valid HTTP",
        ErrorKind::ReplayLimit => "the request body is too large to be sent again",
        ErrorKind::Overloaded => "every connection to the upstream is in use",
        ErrorKind::NoUpstream => "there is no such upstream, or none of its names is resolved yet",
        ErrorKind::FilterFault => "a filter failed",
        ErrorKind::ClientAbort => "the request body ended early",
        ErrorKind::NoRoute => "no route matches the request",
        ErrorKind::BadRequest => "the request is not valid",
        ErrorKind::BodyTimeout => "the request body stopped arriving",
        ErrorKind::BodyTooLarge => "the request body is too large",
        ErrorKind::UriTooLong => "the request's target is too long",
        ErrorKind::HeadersTooLarge => "the request's headers are too large",
        ErrorKind::NoDestination => "the connection has no destination but the proxy itself",
        ErrorKind::LimitExceeded => "the exchange needs more work than it may",
    }
}

/// The response for `kind`: its status, `x-meshup-error` and a short JSON body.
pub(crate) fn response(kind: ErrorKind) -> Response<Bytes> {
    let body = format!("{{\"error\":\"{}\",\"message\":\"{}\"}}\n", kind.as_str(), explanation(kind));
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status(kind);
    let headers = response.headers_mut();
    headers.insert(X_MESHUP_ERROR, HeaderValue::from_static(kind.as_str()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if kind == ErrorKind::Overloaded {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
