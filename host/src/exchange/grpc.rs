//! gRPC's form of the answers that are made here: its clients look for the status of a call in `grpc-status`, and for
//! them any other HTTP status than 200 is a fault of the transport.
//!
//! It changes what the client gets and nothing else: filters, metrics and logs have the HTTP status.
//!
//! **Invariant:** answers of upstreams are not touched.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    request, response,
};
use meshup_abi::ErrorKind;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// What a message takes of a filter's text.
const MAX_TEXT: usize = 256;

/// Whether a request as it came is a gRPC call.
pub(super) fn is_call(head: &request::Parts) -> bool {
    head.version == Version::HTTP_2 && is_grpc(&head.headers)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Gives an answer the form of trailers only: status 200, and the outcome of the call in the head. Success, and what is
/// gRPC's already, stays as it is. True when it has that form now.
#[cold]
pub(super) fn convert(head: &mut response::Parts, error: Option<ErrorKind>, text: &Bytes) -> bool {
    if head.status.is_success() || is_grpc(&head.headers) || head.headers.contains_key(GRPC_STATUS) {
        return false;
    }
    let message = match error {
        Some(kind) => super::refusal::explanation(kind).into(),
        None if text.is_empty() => head.status.canonical_reason().unwrap_or_default().into(),
        None => encoded(text.trim_ascii()),
    };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(GRPC_STATUS, HeaderValue::from(code(head.status, error)));
    if let Ok(message) = HeaderValue::try_from(message) {
        head.headers.insert(GRPC_MESSAGE, message);
    }
    head.status = StatusCode::OK;
    true
}

/// The status of a call that was answered so: gRPC's own table for what comes of HTTP, but that what ran out of time or
/// room says so.
fn code(status: StatusCode, error: Option<ErrorKind>) -> u16 {
    const UNKNOWN: u16 = 2;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match (error, status.as_u16()) {
        (Some(ErrorKind::Overloaded | ErrorKind::LimitExceeded), _) | (_, 413 | 414 | 431) => RESOURCE_EXHAUSTED,
        (_, 400) => INTERNAL,
        (_, 401) => UNAUTHENTICATED,
        (_, 403) => PERMISSION_DENIED,
        (_, 404) => UNIMPLEMENTED,
        (_, 408 | 504) => DEADLINE_EXCEEDED,
        (_, 429 | 502 | 503) => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Percent-encoded, as the gRPC protocol has it: what is not printable ASCII, and `%`.
fn encoded(text: &[u8]) -> String {
    let mut message = String::with_capacity(text.len().min(MAX_TEXT));
    for &byte in text.iter().take(MAX_TEXT) {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(byte.into()),
            _ => drop(write!(message, "%{byte:02X}")),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn converted(status: u16, error: Option<ErrorKind>, text: &'static str) -> (u16, u16, String) {
        let mut head = Response::builder().status(status).body(()).expect("a response").into_parts().0;
        assert!(convert(&mut head, error, &Bytes::from_static(text.as_bytes())));
        let field = |name: HeaderName| head.headers[name].to_str().expect("text").to_owned();
        assert_eq!(field(CONTENT_TYPE), "application/grpc");
        (head.status.as_u16(), field(GRPC_STATUS).parse().expect("a number"), field(GRPC_MESSAGE))
    }

    #[test]
    fn a_status_becomes_the_status_of_a_call() {
        let statuses = [
            (302, 2),
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (408, 4),
            (413, 8),
            (414, 8),
            (417, 2),
            (429, 14),
            (431, 8),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 4),
        ];
        for (status, code) in statuses {
            assert_eq!(converted(status, None, "x"), (200, code, "x".into()), "{status}");
        }
        assert_eq!(converted(503, Some(ErrorKind::Overloaded), "").1, 8);
        assert_eq!(converted(503, Some(ErrorKind::ConnectFailure), "").1, 14);
    }

    #[test]
    fn a_message_is_printable_and_bounded() {
        assert_eq!(converted(403, None, "no: 5% \u{e4}\r\nx: y\n").2, "no: 5%25 %C3%A4%0D%0Ax: y");
        assert_eq!(converted(403, None, "").2, "Forbidden");
        assert_eq!(encoded(&[b'a'; 10_000]).len(), MAX_TEXT);
    }

    #[test]
    fn what_is_no_error_or_grpcs_own_stays() {
        for (status, name, value) in [
            (200, "x", "y"),
            (204, "x", "y"),
            (503, "grpc-status", "14"),
            (503, "content-type", "application/grpc+proto"),
        ] {
            let mut head =
                Response::builder().status(status).header(name, value).body(()).expect("a response").into_parts().0;
            assert!(!convert(&mut head, None, &Bytes::new()));
            assert_eq!(head.status.as_u16(), status);
        }
    }

    #[test]
    fn only_grpc_is_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
    }
}
