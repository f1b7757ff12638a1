//! Filters as WebAssembly: loading modules, running their instances within limits, and the host calls they may make.
//!
//! The process has one [`Runtime`]. A configuration generation has one [`Filter`] per configured filter, made from a
//! [`FilterSpec`] and a loaded [`Module`]. A worker has one [`WorkerFilter`] per filter, and an exchange holds a
//! [`Ticket`] for each filter it is in, through which events reach the guest:
//!
//! ```text
//! Runtime::load -> Module -> Filter::new (canary) -> WorkerFilter::enter -> Ticket::call
//! ```
//!
//! What the messages mean is the business of the exchange: here they are bytes with a checked place in guest memory.
//!
//! **Invariant:** whatever a guest does, the host sees a [`Fault`], never a panic, and gets its thread back in time.

mod artifact;
mod backoff;
mod bounds;
mod cache;
mod compiler;
mod cpu;
mod engine;
mod environment;
mod fault;
mod filter;
mod host_calls;
mod instance;
mod limits;
mod module;
mod rate;
mod runtime;
mod series;
mod state;
mod statistics;
mod worker_filter;

pub use compiler::{Compiler, MODULE_REFUSED, Priority, precompile};
pub use fault::{ConfigureError, Fault, FaultCause};
pub use filter::{Filter, FilterSpec};
pub use module::{MAX_MODULE_BYTES, Module, ModuleError};
pub use runtime::{Runtime, RuntimeError, RuntimeOptions};
pub use statistics::FilterStatistics;
pub use worker_filter::{Ticket, WorkerFilter};
