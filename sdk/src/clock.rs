//! The host's clocks. `std::time`'s own do not work in a filter module.
//!
//! **Invariant:** in a test, time moves only when the test or the filter's waiting moves it.
//!
//! ```
//! use meshup_sdk::clock;
//!
//! let began = clock::monotonic();
//! assert!(clock::monotonic() >= began);
//! assert!(clock::unix().as_secs() > 1_700_000_000);
//! ```

use std::time::Duration;

use crate::host;

/// The time since the Unix epoch.
#[must_use]
pub fn unix() -> Duration {
    Duration::from_nanos(host::now_unix())
}

/// A time that never goes back; only differences mean something.
#[must_use]
pub fn monotonic() -> Duration {
    Duration::from_nanos(host::now_monotonic())
}
