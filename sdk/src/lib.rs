//! Write meshup filters in Rust: one `async fn` per filter, sandboxed in the proxy, tested natively.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     attempts: u32,
//!     #[serde(with = "duration")]
//!     pause: Duration,
//! }
//!
//! #[meshup_sdk::filter]
//! async fn retry(config: &Config, req: Request, next: Next) -> Response {
//!     let mut res = next.run(&req).await;
//!     for _ in 1..config.attempts {
//!         if res.status() < 500 {
//!             break;
//!         }
//!         sleep(config.pause).await;
//!         res = next.run(&req).await;
//!     }
//!     res
//! }
//!
//! let mut tester = testing::filter(retry).config(testing::json!({ "attempts": 3, "pause": "10ms" }));
//! let done = tester.run(Request::get("/orders"), |sent| match sent.attempt {
//!     1 => Response::new(503),
//!     _ => Response::new(200),
//! });
//! assert_eq!((done.status(), done.sent.len()), (200, 2));
//! ```
//!
//! A filter gets the request and what is [`Next`]: it changes the request, runs it (once, or again: that is
//! a retry), passes it on, or answers by itself. While it awaits, the host does the waiting and other exchanges go on;
//! one operation is in flight per exchange, and there are no threads.
//!
//! State derived from the configuration (parsed keys, compiled patterns) belongs in the configuration type: derive it
//! once with `#[serde(try_from = "Raw")]`, and the error of `try_from` is what a refused configuration says. What
//! changes between exchanges of one instance can stand there in a `Cell` or `RefCell`; what all workers share is
//! [`state`].
//!
//! It does no I/O of its own, and holds no policy: what is allowed is for the host to say.
//!
//! **Invariant:** what [`testing`] runs is the very code, down to the messages, that runs in the proxy.

mod buffer;
pub mod clock;
mod config;
mod context;
pub mod crypto;
pub mod duration;
pub mod exchange;
pub mod fetch;
pub mod filter;
#[cfg(target_family = "wasm")]
mod guest;
mod head;
pub mod headers;
mod host;
mod instance;
pub mod into_response;
pub mod log;
pub mod metrics;
pub mod next;
mod operation;
pub mod prelude;
pub mod random;
pub mod request;
pub mod response;
pub mod size;
pub mod sleep;
pub mod state;
pub mod summary;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod text;
mod wire;

pub use fetch::fetch;
pub use headers::Headers;
pub use into_response::IntoResponse;
pub use meshup_abi::{Attribute, BodyError, ErrorKind, Outcome};
pub use meshup_sdk_macros::filter;
pub use next::{Next, TimedOut};
pub use request::Request;
pub use response::Response;
pub use sleep::sleep;
pub use summary::Summary;

/// For the code that `#[filter]` writes.
#[doc(hidden)]
pub mod __private {
    pub use meshup_abi::VERSION;

    #[cfg(target_family = "wasm")]
    pub use crate::guest::{buffer, configure, on_event};

    /// Compiles for filters alone.
    pub fn check<F: crate::filter::Filter<K>, K: 'static>(_: F) {}
}

/// The guide's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
