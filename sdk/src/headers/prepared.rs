//! Changes to headers that are the same for every message: written once, applied with one copy.
//!
//! Nothing of an exchange goes into them.
//!
//! **Invariant:** names and values are ones that the host takes.

use meshup_abi::tag;

use super::{HeaderName, HeaderValue};
use crate::wire;

/// A list of changes, in the order in which they were given.
///
/// ```
/// use meshup_sdk::{headers::PreparedHeaders, prelude::*};
///
/// const SERVER: HeaderName = HeaderName::from_static("server");
///
/// let prepared = PreparedHeaders::default().remove(&SERVER);
/// let mut res = Response::new(200).with_header("server", "origin/1.0");
/// res.headers_mut().apply(&prepared);
/// assert!(!res.headers().contains("server"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreparedHeaders(Vec<u8>);

impl PreparedHeaders {
    /// The same, and replaces every header `name` by this one, or adds it.
    #[must_use]
    pub fn set(mut self, name: &HeaderName, value: &HeaderValue) -> Self {
        wire::put_pair(&mut self.0, tag::HEADER_SET, name.as_bytes(), value.as_bytes());
        self
    }

    /// The same, and adds a header beside those of the same name.
    #[must_use]
    pub fn append(mut self, name: &HeaderName, value: &HeaderValue) -> Self {
        wire::put_pair(&mut self.0, tag::HEADER, name.as_bytes(), value.as_bytes());
        self
    }

    /// The same, and removes every header `name`.
    #[must_use]
    pub fn remove(mut self, name: &HeaderName) -> Self {
        wire::put_bytes(&mut self.0, tag::HEADER_REMOVE, name.as_bytes());
        self
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
