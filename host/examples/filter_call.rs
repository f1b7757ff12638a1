//! What one guest call costs: `cargo run --release -p meshup --example filter_call`.
//!
//! Prints nanoseconds per call, the best of several rounds, for a filter that passes a request with 12 headers.

use std::{
    convert::Infallible,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use meshup::{
    config::{FilterLimits, Isolation, OnError},
    wasm::{Filter, FilterSpec, Runtime, RuntimeOptions, Ticket, WorkerFilter},
};
use meshup_abi::{Event, Fields, tag};

const ROUNDS: usize = 9;
const HEADERS: [(&str, &str); 12] = [
    ("host", "orders.example"),
    ("user-agent", "curl/8.5.0"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, br"),
    ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
    ("content-type", "application/json"),
    ("content-length", "42"),
    ("cookie", "session=0123456789abcdef; theme=dark"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "0123456789abcdef0123456789abcdef"),
    ("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
];

/// Answers every event with the verdict Pass.
const PASS: &str = r#"(module
    (memory (export "memory") 2)
    (data (i32.const 16) "\01\00\00\00")
    (func (export "meshup_abi_version") (result i32) (i32.const 1))
    (func (export "meshup_buffer") (param i32) (result i32) (i32.const 4096))
    (func (export "meshup_configure") (param i32) (result i64) (i64.const 0))
    (func (export "meshup_on_event") (param i32 i32 i32) (result i64) (i64.const 0x1000000004)))"#;

fn filter(runtime: &Arc<Runtime>, isolation: Isolation) -> Rc<WorkerFilter> {
    let wasm = wat::parse_str(PASS).expect("the text is valid");
    let spec = FilterSpec {
        name: "pass".into(),
        module: runtime.load(&wasm).expect("the module is a filter"),
        on_error: OnError::Deny,
        isolation,
        limits: FilterLimits { memory_bytes: 16 << 20, cpu_per_call: Duration::from_millis(10) },
        config: "{}".into(),
        log_lines_per_second: FilterSpec::LOG_LINES_PER_SECOND,
    };
    WorkerFilter::new(Filter::new(runtime, spec).expect("the configuration is accepted"))
}

fn request(ticket: &Ticket) {
    let size = 64 + HEADERS.iter().map(|(name, value)| name.len() + value.len() + 10).sum::<usize>();
    let verdict = ticket.call(
        Event::Request,
        &mut None,
        size,
        |writer| {
            writer.bytes(tag::METHOD, b"GET")?;
            writer.bytes(tag::PATH, b"/v1/orders?limit=1")?;
            HEADERS.iter().try_for_each(|(name, value)| writer.pair(tag::HEADER, name.as_bytes(), value.as_bytes()))
        },
        |answer| Ok::<_, Infallible>(Fields::of_answer(answer).is_ok()),
    );
    assert_eq!(verdict, Ok(true));
}

fn measure(what: &str, calls: u32, mut call: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        (0..calls).for_each(|_| call());
        began.elapsed()
    });
    let best = best.min().unwrap_or_default();
    println!("{what:<44} {:>8.1} ns", best.as_nanos() as f64 / f64::from(calls));
}

fn main() {
    let runtime = Runtime::new(RuntimeOptions::default()).expect("the engine starts");
    let shared = filter(&runtime, Isolation::Worker);
    let ticket = shared.enter().expect("an instance is made");
    measure("request event, 12 headers, pass", 100_000, || request(&ticket));
    measure("the same with enter and drop", 100_000, || request(&shared.enter().expect("the instance is there")));
    let isolated = filter(&runtime, Isolation::Exchange);
    measure("the same with an instance per exchange", 10_000, || {
        request(&isolated.enter().expect("an instance is made"));
    });
}
