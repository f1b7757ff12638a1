//! Log lines: `error!`, `warn!`, `info!`, `debug!` and `trace!`, with the arguments of `format!`.
//!
//! The host adds the filter's name, and decides which levels it keeps. A line that is a JSON object stays one in the host's
//! JSON log, as the member `data`; any other line is the text `message`.
//!
//! **Invariant:** a line costs one host call; without arguments it allocates nothing.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn chatty(req: Request, next: Next) -> Response {
//!     warn!("saw {}", req.path());
//!     next.pass(req)
//! }
//!
//! let mut tester = testing::filter(chatty);
//! tester.run(Request::get("/orders"), |_| Response::new(200));
//! assert_eq!(tester.logs()[0].text, "saw /orders");
//! ```

use std::fmt;

pub use meshup_abi::Level;

use crate::host;

/// Writes one line; the macros call this.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    match text.as_str() {
        Some(text) => host::log(level, text),
        None => host::log(level, &text.to_string()),
    }
}

/// Logs that something failed.
#[macro_export]
macro_rules! error {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Error, ::core::format_args!($($arg)+)) };
}

/// Logs that something looks wrong.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Warn, ::core::format_args!($($arg)+)) };
}

/// Logs something worth knowing.
#[macro_export]
macro_rules! info {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Info, ::core::format_args!($($arg)+)) };
}

/// Logs something for finding a fault.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Debug, ::core::format_args!($($arg)+)) };
}

/// Logs everything.
#[macro_export]
macro_rules! trace {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Trace, ::core::format_args!($($arg)+)) };
}
