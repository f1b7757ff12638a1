//! The way to a route: the one that comes last of so many.
//!
//! **Invariant:** every request that is timed has a route.

use std::{fmt::Write as _, hint::black_box};

use criterion::{BenchmarkId, Criterion};
use http::{Request, request::Parts};

use crate::generations;

pub(crate) const COUNTS: [usize; 3] = [10, 100, 1000];

/// What the conditions of a route are made of.
const CONDITIONS: [(&str, &str); 3] = [
    ("prefixes", ""),
    ("prefixes and methods", r#", methods = ["GET"]"#),
    ("prefixes, methods and headers", r#", methods = ["GET"], headers = { x-tenant = "blue" }"#),
];

pub(crate) fn run(criterion: &mut Criterion) {
    for (name, conditions) in CONDITIONS {
        let mut group = criterion.benchmark_group(format!("routes/{name}"));
        for count in COUNTS {
            let worker = generations::worker(&routes(count, conditions));
            let (listener, head) = ("http".into(), last(count));
            assert!(worker.has_route(&listener, &head));
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| worker.has_route(black_box(&listener), black_box(&head)));
            });
        }
    }
}

/// So many routes with these conditions beside their path prefix.
pub(crate) fn routes(count: usize, conditions: &str) -> String {
    (0..count).fold(String::new(), |mut text, route| {
        _ = writeln!(
            text,
            "[[routes]]\nname = \"r{route}\"\nmatch = {{ path_prefix = \"/v1/service-{route:04}\"{conditions} }}\n\
             upstream = \"origin\""
        );
        text
    })
}

fn last(count: usize) -> Parts {
    let target = format!("/v1/service-{:04}/orders?limit=20", count - 1);
    let request =
        Request::get(target).header("host", "shop.example").header("accept", "*/*").header("x-tenant", "blue");
    request.body(()).expect("a request").into_parts().0
}
