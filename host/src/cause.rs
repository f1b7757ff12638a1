//! What is behind an error of hyper's.
//!
//! **Invariant:** only the direct source counts: that is where hyper puts what its I/O or its HTTP/2 library said.

use std::error::Error;

/// The error of type `E` that hyper wraps, if it is of that type.
pub(crate) fn of<E: Error + 'static>(error: &hyper::Error) -> Option<&E> {
    error.source()?.downcast_ref()
}
