//! Waiting.
//!
//! The host waits, not the guest: other exchanges go on meanwhile.
//!
//! **Invariant:** a sleep of zero asks the host nothing.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn slow(req: Request, next: Next) -> Response {
//!     sleep(Duration::from_secs(60)).await;
//!     next.pass(req)
//! }
//!
//! let done = testing::filter(slow).run(Request::get("/"), |_| Response::new(200));
//! assert_eq!(done.slept, [Duration::from_secs(60)]);
//! ```

use std::time::Duration;

use meshup_abi::{Event, Verdict, tag};

use crate::{context, operation::Operation, wire};

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    if duration.is_zero() {
        return;
    }
    let ask = || context::ask(Verdict::Sleep, 0, |out| wire::put_duration(out, tag::DEADLINE, duration));
    Operation::new(Event::Slept).done(ask).await;
}
