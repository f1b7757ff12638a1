//! What the benchmarks share: the proxies that are measured, the load, the origin behind them, and what is read off.
//!
//! **Invariant:** only processes started here are signalled, by their own id.

pub mod committed;
pub mod in_process;
pub mod load;
pub mod machine;
pub mod modules;
pub mod origin;
pub mod peers;
pub mod process;
pub mod stats;
pub mod turns;
pub mod work;
