//! Generations: what a request pays to hold the present one, and what a worker pays to take up the next.
//!
//! **Invariant:** the two generations differ in one route, as most reloads change little.

use criterion::{BenchmarkId, Criterion};
use meshup::bench::Worker;

use crate::routes;

pub(crate) fn run(criterion: &mut Criterion) {
    let worker = worker(&routes::routes(10, ""));
    criterion.bench_function("generations/hold", |bencher| bencher.iter(|| worker.generation()));
    let mut group = criterion.benchmark_group("generations/take up, by routes");
    for count in routes::COUNTS {
        let worker = self::worker(&(FILTERED.to_owned() + &routes::routes(count, "")));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| bencher.iter(|| worker.take_up_other()));
    }
}

/// A worker with these routes, filters and upstreams, and another generation with a further route.
pub(crate) fn worker(more: &str) -> Worker {
    let one = CONFIGURATION.to_owned() + more;
    let other = format!("{one}\n[[routes]]\nname = \"more\"\nupstream = \"origin\"\n");
    Worker::new([&one, &other]).expect("a worker")
}

const CONFIGURATION: &str = r#"
workers = 1
[[listeners]]
name = "http"
listen = "127.0.0.1:0"
[upstreams.origin]
endpoints = ["127.0.0.1:9"]
"#;

const FILTERED: &str = r#"
[filters.rewrite]
module = "builtin:rewrite"
config = { response_headers = { set = { x-served-by = "meshup" } } }
[[routes]]
name = "first"
match = { path = "/first" }
filters = ["rewrite"]
upstream = "origin"
"#;
