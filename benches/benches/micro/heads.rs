//! Heads as guests are told them, and their answers as the host reads them, by the number of header fields.
//!
//! **Invariant:** an answer of `anew` is never the one before: what the host knows already it does not read.

use std::{cell::Cell, hint::black_box};

use criterion::{BenchmarkId, Criterion, Throughput};
use http::{HeaderMap, HeaderName, HeaderValue, Request, request::Parts};
use meshup::bench;
use meshup_abi::{Event, Verdict, Writer, tag};

const COUNTS: [usize; 4] = [4, 12, 32, 64];
/// Far more than the host remembers answers.
const DIFFERENT: usize = 512;

pub(crate) fn run(criterion: &mut Criterion) {
    encode(criterion);
    decode(criterion, "heads/decode known", 1);
    decode(criterion, "heads/decode anew", DIFFERENT);
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("heads/encode");
    for count in COUNTS {
        let head = head(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &head, |bencher, head| {
            bencher.iter(|| bench::encode(black_box(head)));
        });
    }
}

/// Reads answers that set so many header fields, and sets them.
fn decode(criterion: &mut Criterion, name: &str, different: usize) {
    let mut group = criterion.benchmark_group(name);
    for count in COUNTS {
        let answers: Vec<_> = (0..different).map(|number| answer(count, number)).collect();
        let (mut headers, next) = (HeaderMap::new(), Cell::new(0));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let answer = &answers[next.replace((next.get() + 1) % different)];
                bench::apply(Event::Request, black_box(answer), &mut headers)
            });
        });
    }
}

fn head(count: usize) -> Parts {
    let mut head = Request::get("/v1/orders?limit=20").body(()).expect("a request").into_parts().0;
    head.headers.insert("host", HeaderValue::from_static("shop.example"));
    for number in 1..count {
        head.headers.insert(name(number), HeaderValue::from_static("a value of some length, as is usual"));
    }
    head
}

fn name(number: usize) -> HeaderName {
    HeaderName::try_from(format!("x-header-{number}")).expect("a name")
}

fn answer(count: usize, number: usize) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut writer = Writer::new(&mut answer);
    writer.verdict(Verdict::Pass).expect("a verdict");
    for header in 0..count {
        let value = format!("{number:04}");
        writer.pair(tag::HEADER_SET, name(header).as_str().as_bytes(), value.as_bytes()).expect("a field");
    }
    answer
}
