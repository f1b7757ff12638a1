//! What a filter may return.
//!
//! **Invariant:** every conversion gives a response; none panics.
//!
//! ```
//! use meshup_sdk::prelude::*;
//!
//! assert_eq!((403, "not allowed").into_response().status(), 403);
//! assert_eq!(None::<Response>.into_response().status(), 500);
//! ```

use meshup_abi::BodyError;

use crate::{fetch::FetchError, next::TimedOut, response::Response};

/// Something that makes a response.
pub trait IntoResponse {
    /// The response.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    #[inline]
    fn into_response(self) -> Response {
        self
    }
}

/// A status code alone.
impl IntoResponse for u16 {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

/// A status code and a text.
impl IntoResponse for (u16, &str) {
    fn into_response(self) -> Response {
        Response::new(self.0).with_header("content-type", "text/plain; charset=utf-8").with_body(self.1)
    }
}

/// A status code and a text.
impl IntoResponse for (u16, String) {
    fn into_response(self) -> Response {
        (self.0, self.1.as_str()).into_response()
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    #[inline]
    fn into_response(self) -> Response {
        match self {
            Ok(response) => response.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// `None` is an empty 500.
impl<T: IntoResponse> IntoResponse for Option<T> {
    #[inline]
    fn into_response(self) -> Response {
        self.map_or_else(|| Response::new(500), T::into_response)
    }
}

impl IntoResponse for TimedOut {
    fn into_response(self) -> Response {
        self.0
    }
}

/// 413 when too large, 400 when broken off, 500 when it was passed on before.
impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::TooLarge => 413,
            Self::Aborted => 400,
            Self::Gone => 500,
        };
        (status, self.as_str()).into_response()
    }
}

/// 504 for a time-out, otherwise 502.
impl IntoResponse for FetchError {
    fn into_response(self) -> Response {
        let status = if self.is_timeout() { 504 } else { 502 };
        (status, self.to_string()).into_response()
    }
}
