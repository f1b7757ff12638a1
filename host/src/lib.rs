//! meshup: a sidecar proxy whose behaviour is a chain of sandboxed WebAssembly filters.
//!
//! This crate is the host. [`App`] runs a whole proxy; [`config`] reads what it is to do; [`wasm`] runs the filters.
//! `ARCHITECTURE.md` at the root of the repository shows how the parts fit.
//!
//! **Invariant:** the request path takes no lock and crosses no thread.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod cli;
pub mod config;
pub mod exchange;
pub mod observe;
pub mod wasm;

mod admin;
mod allocator;
mod app;
mod body;
mod cause;
mod coarse;
mod cork;
mod drain;
mod names;
mod pem;
mod random;
mod reload;
mod route;
mod server;
mod snapshot;
mod transport;
mod upstream;
mod worker;

pub use allocator::Allocator;
pub use app::{App, Options, StartError};
pub use reload::Source;
