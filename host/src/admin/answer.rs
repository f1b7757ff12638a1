//! What an answer of the admin listener looks like.
//!
//! **Invariant:** every answer is JSON, ends with a newline and is kept by no cache; only metrics are plain text.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use serde_json::{Value, json};

pub(super) type Answer = Response<Full<Bytes>>;

/// The text format of Prometheus.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn answer(status: StatusCode, content_type: HeaderValue, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 200 with a document.
pub(super) fn document(document: &Value) -> Answer {
    with_status(StatusCode::OK, document)
}

/// A document with another status.
pub(super) fn with_status(status: StatusCode, document: &Value) -> Answer {
    answer(status, JSON, format!("{document}\n"))
}

/// 200 with metrics.
pub(super) fn metrics(text: String) -> Answer {
    answer(StatusCode::OK, METRICS, text)
}

/// An error, in the form of the errors that the proxy itself answers.
pub(super) fn error(status: StatusCode, error: &str, message: &str) -> Answer {
    with_status(status, &json!({ "error": error, "message": message }))
}

/// 405, and what would be allowed.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let message = format!("allowed here: {allowed}");
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", &message);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}
