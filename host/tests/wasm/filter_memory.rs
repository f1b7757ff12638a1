//! What all filters of a process may take of memory together.

use std::sync::Arc;

use meshup::wasm::{Filter, Runtime, WorkerFilter};

use crate::guest::{Guest, exchange, isolated, runtime, spec};

const PAGE: usize = 64 << 10;
/// Two pages at first, and one more with each event; a refusal ends the call.
const GROW: &str =
    "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (i64.const 0x1000000004)";
const USED_UP: &str = "filter \"test\": the memory of all filters, 512 KiB, is used up";

/// At most eight pages for all.
fn limited() -> Arc<Runtime> {
    let runtime = runtime();
    runtime.limit_memory(Some(8 * PAGE));
    runtime
}

#[test]
fn instances_share_what_all_of_them_may_take() {
    let runtime = limited();
    let (one, other) = (Guest::on_event(GROW).worker_filter(&runtime), Guest::on_event(GROW).worker_filter(&runtime));
    for _ in 0..2 {
        exchange(&one).unwrap();
        exchange(&other).unwrap();
    }
    let fault = exchange(&one).unwrap_err();
    assert_eq!((fault.to_string().as_str(), fault.cause.label()), (USED_UP, "filter-memory"));
    // The instance that faulted is gone, and with it its four pages.
    for _ in 0..2 {
        exchange(&other).unwrap();
    }
}

#[test]
fn memory_is_given_back_with_its_instance() {
    let runtime = limited();
    let module = Guest::on_event(GROW).load(&runtime).unwrap();
    let filter = WorkerFilter::new(Filter::new(&runtime, isolated(module)).unwrap());
    for _ in 0..100 {
        exchange(&filter).unwrap();
    }
}

#[test]
fn a_filter_that_finds_no_room_is_not_loaded() {
    let runtime = limited();
    let small = Guest::default().load(&runtime).unwrap();
    let large = Guest { memory: "7", ..Guest::default() }.worker_filter(&runtime);
    exchange(&large).unwrap();
    assert_eq!(Filter::new(&runtime, spec(small.clone())).unwrap_err().to_string(), USED_UP);
    let unknown = Guest { memory: "3", ..Guest::default() }.load(&runtime).unwrap_err().to_string();
    assert!(unknown.contains("the memory of all filters, 512 KiB, is used up"), "{unknown}");
    runtime.limit_memory(None);
    Filter::new(&runtime, spec(small)).unwrap();
}

#[test]
fn a_lower_limit_leaves_what_is_used() {
    let runtime = runtime();
    let filter = Guest::on_event("(drop (memory.grow (i32.const 1))) (i64.const 0x1000000004)").worker_filter(&runtime);
    exchange(&filter).unwrap();
    runtime.limit_memory(Some(PAGE));
    // Refused, which this guest copes with.
    exchange(&filter).unwrap();
}
