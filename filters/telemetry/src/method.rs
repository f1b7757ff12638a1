//! Methods as labels.
//!
//! **Invariant:** there are ten of them, whatever clients send.

/// A method of RFC 9110 or RFC 5789, or any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method(&'static str);

impl Method {
    /// Methods compare with regard to case.
    pub(crate) fn new(method: &str) -> Self {
        const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];
        Self(KNOWN.into_iter().find(|known| *known == method).unwrap_or("OTHER"))
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.0
    }
}
