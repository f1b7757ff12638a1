//! Bodies on their way through: the request body with what a replay needs, and the response body.
//!
//! Nothing is buffered unless a filter asked for it (a whole body) or may ask for it (a replay, up to its limit).
//!
//! **Invariant:** bytes are handed on in order and once per attempt; an error never looks like a clean end.

mod permission;
mod request;
mod response;
mod wait;

pub(crate) use permission::Permission;
pub(crate) use request::{BodyFailure, RequestBody, RequestSource};
pub(crate) use response::{ResponseBody, ResponseSource};
