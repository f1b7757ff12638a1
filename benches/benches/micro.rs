//! Micro-benchmarks: what the parts of a request's path cost by themselves. `make micro` runs them; words behind it, as in
//! `cargo bench --package meshup-benches -- routes`, choose some.
//!
//! Times on a busy machine are times of a busy machine: what has to hold is the gate of `instructions`.
//!
//! **Invariant:** nothing here crosses the network while it is timed.

#[path = "micro/events.rs"]
mod events;
#[path = "micro/generations.rs"]
mod generations;
#[path = "micro/guests.rs"]
mod guests;
#[path = "micro/heads.rs"]
mod heads;
#[path = "micro/modules.rs"]
mod modules;
#[path = "micro/routes.rs"]
mod routes;
#[path = "micro/upstreams.rs"]
mod upstreams;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

// As in the `meshup` binary.
#[global_allocator]
static ALLOCATOR: meshup::Allocator = meshup::Allocator;

fn settings() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = micro;
    config = settings();
    targets = events::run, heads::run, routes::run, upstreams::run, modules::run, generations::run
}
criterion_main!(micro);
