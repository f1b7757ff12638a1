//! Calls that go well: messages arrive, answers come back, instances are shared or not as configured.

use meshup::wasm::{Filter, WorkerFilter};
use meshup_abi::Event;

use crate::guest::{Guest, PASS, event, exchange, info, isolated, request, runtime, spec};

/// Answers with the event's message itself.
const ECHO: &str = "(i64.or (i64.const 0x100000000000) (i64.extend_i32_u (local.get $len)))";

/// Counts calls at address 8 and answers with the count, as text `a`, `b`, ...
const COUNT: &str = "
    (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1)))
    (i64.const 0x800000001)";

#[test]
fn a_filter_that_passes_everything() {
    let worker_filter = Guest::on_event(PASS).worker_filter(&runtime());
    assert_eq!(exchange(&worker_filter).unwrap(), [1, 0, 0, 0]);
}

#[test]
fn the_message_lies_in_the_guests_buffer() {
    let worker_filter = Guest::on_event(ECHO).worker_filter(&runtime());
    let answer = request(&worker_filter.enter().unwrap(), b"/orders").unwrap();
    assert_eq!(answer, b"\x04\0\x07\0\0\0/orders");
}

#[test]
fn the_guest_may_grow_its_memory_for_its_buffer() {
    let guest = Guest {
        buffer: "(i32.mul (memory.grow (i32.const 4)) (i32.const 65536))",
        on_event: "(i64.or
            (i64.shl (i64.extend_i32_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 262144)))
                (i64.const 32))
            (i64.extend_i32_u (local.get $len)))",
        ..Guest::default()
    };
    let worker_filter = guest.worker_filter(&runtime());
    let ticket = worker_filter.enter().unwrap();
    let path = [b'x'; 200_000];
    assert_eq!(request(&ticket, &path).unwrap()[6..], path);
}

#[test]
fn end_and_cancelled_have_no_answer() {
    let worker_filter = Guest::on_event("(i64.const -1)").worker_filter(&runtime());
    let ticket = worker_filter.enter().unwrap();
    assert_eq!(event(&ticket, Event::End, b"", &mut None).unwrap(), b"");
    assert_eq!(event(&ticket, Event::Cancelled, b"", &mut None).unwrap(), b"");
}

#[test]
fn exchanges_of_a_worker_share_an_instance_and_have_numbers_of_their_own() {
    let numbers = Guest::on_event("(i32.store8 (i32.const 8) (local.get $exchange)) (i64.const 0x800000001)");
    let worker_filter = numbers.worker_filter(&runtime());
    let tickets = [worker_filter.enter().unwrap(), worker_filter.enter().unwrap(), worker_filter.enter().unwrap()];
    let [first, second, third] = tickets.each_ref().map(|ticket| request(ticket, b"/").unwrap());
    assert!(first != second && second != third && first != third);
    drop(tickets);
    let again = request(&worker_filter.enter().unwrap(), b"/").unwrap();
    assert!([first, second, third].contains(&again));

    let worker_filter = Guest::on_event(COUNT).worker_filter(&runtime());
    assert_eq!([exchange(&worker_filter).unwrap(), exchange(&worker_filter).unwrap()], [[1], [2]]);
}

#[test]
fn case_60_isolated_exchanges_see_nothing_of_each_other() {
    let runtime = runtime();
    let spec = isolated(Guest::on_event(COUNT).load(&runtime).unwrap());
    let worker_filter = WorkerFilter::new(Filter::new(&runtime, spec).unwrap());
    let (one, other) = (worker_filter.enter().unwrap(), worker_filter.enter().unwrap());
    assert_eq!([request(&one, b"/").unwrap(), request(&one, b"/").unwrap()], [[1], [2]]);
    assert_eq!(request(&other, b"/").unwrap(), [1]);
    drop((one, other));
    for _ in 0..1000 {
        assert_eq!(exchange(&worker_filter).unwrap(), [1]);
    }
}

#[test]
fn the_configuration_reaches_the_guest() {
    let guest = Guest { configure: "(i64.const 0)", on_event: "(i64.const 0x100000000017)", ..Guest::default() };
    let runtime = runtime();
    // Read back the bytes the configure message left in the buffer; the event message overwrites the first 6.
    let worker_filter = guest.worker_filter(&runtime);
    let answer = request(&worker_filter.enter().unwrap(), b"").unwrap();
    assert_eq!(&answer[6..], b"test\x19\0\x02\0\0\0{}\0\0\0\0\0");
    let mut other = spec(guest.load(&runtime).unwrap());
    assert_eq!(&other, worker_filter.filter().spec());
    other.config = "{\"a\":1}".into();
    assert_ne!(&other, worker_filter.filter().spec());
}

#[test]
fn the_info_comes_back_whatever_happens() {
    let worker_filter = Guest::on_event("unreachable").worker_filter(&runtime());
    let mut info = Some(info());
    assert!(event(&worker_filter.enter().unwrap(), Event::Request, b"/", &mut info).is_err());
    assert_eq!(info.unwrap().generation, 3);
}

#[test]
fn calls_are_counted_on_flush() {
    let worker_filter = Guest::default().worker_filter(&runtime());
    for _ in 0..10 {
        exchange(&worker_filter).unwrap();
    }
    worker_filter.flush();
    let statistics = worker_filter.filter().statistics();
    assert_eq!((statistics.calls, statistics.faults.len()), (10, 0));
    assert!(statistics.mean_call.is_some());
}
