//! What time it is.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Where the monotonic clock begins: somewhat before the first look at it.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| nanos(since.as_nanos()))
}

pub(super) fn now_monotonic() -> u64 {
    nanos(ORIGIN.elapsed().as_nanos())
}

/// 64 bits last until the year 2554.
fn nanos(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
