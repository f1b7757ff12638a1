//! State that all workers and exchanges of the filter share, kept by the host in memory.
//!
//! It is not a database: it is bounded, and gone when the proxy ends.
//!
//! **Invariant:** each call is atomic; between two calls others may write.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn ten_a_minute(req: Request, next: Next) -> Response {
//!     let key = exchange::client_address().unwrap_or_default();
//!     match state::add(&key, 1, Some(Duration::from_secs(60))) {
//!         Ok(count) if count > 10 => 429.into_response(),
//!         _ => next.pass(req),
//!     }
//! }
//!
//! let mut tester = testing::filter(ten_a_minute);
//! for _ in 0..10 {
//!     assert_eq!(tester.run(Request::get("/"), |_| Response::new(200)).status(), 200);
//! }
//! assert_eq!(tester.run(Request::get("/"), |_| Response::new(200)).status(), 429);
//! tester.advance(Duration::from_secs(61));
//! assert_eq!(tester.run(Request::get("/"), |_| Response::new(200)).status(), 200);
//! ```

use std::time::Duration;

pub use crate::host::HostError;
use crate::host::{self, checked, filled};

/// The value of `key`.
#[must_use]
pub fn get(key: &str) -> Option<Vec<u8>> {
    filled(|out| host::state_get(key, out))
}

/// Stores a value; `None` keeps it until it is removed.
///
/// # Errors
/// [`HostError`] when the host refuses, as for every function here.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<(), HostError> {
    checked(host::state_set(key, value.as_ref(), millis(ttl))).map(drop)
}

/// Stores `value` only when the key holds `expected`, or does not exist where that is `None`. Says whether it did.
///
/// # Errors
/// [`HostError`].
pub fn compare_and_swap(
    key: &str,
    expected: Option<&[u8]>,
    value: impl AsRef<[u8]>,
    ttl: Option<Duration>,
) -> Result<bool, HostError> {
    checked(host::state_compare_and_swap(key, expected, value.as_ref(), millis(ttl))).map(|stored| stored == 1)
}

/// Adds to a number and gives the sum. A key that does not exist counts as 0, and only then `ttl` applies.
///
/// # Errors
/// [`HostError`]; [`HostError::Invalid`] when the key holds something else than a number.
pub fn add(key: &str, delta: i64, ttl: Option<Duration>) -> Result<i64, HostError> {
    let mut sum = [0; 8];
    checked(host::state_add(key, delta, millis(ttl), &mut sum)).map(|_| i64::from_le_bytes(sum))
}

/// Removes a key. Says whether it was there.
///
/// # Errors
/// [`HostError`].
pub fn remove(key: &str) -> Result<bool, HostError> {
    checked(host::state_remove(key)).map(|removed| removed == 1)
}

/// Whole milliseconds, rounded up, since 0 means no expiry.
fn millis(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1))
}
