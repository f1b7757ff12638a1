//! Guests that misbehave: every way there is must end in a fault of the right kind, in time, and leave the filter
//! usable.

use std::time::{Duration, Instant};

use meshup::{
    config::FilterLimits,
    wasm::{ConfigureError, FaultCause, Filter, Runtime, RuntimeOptions, WorkerFilter},
};
use meshup_abi::{Event, tag};

use crate::guest::{Guest, LIMITS, PASS, exchange, isolated, request, runtime, spec};

const LOOP: &str = "(loop $forever (br $forever)) (i64.const 0)";

/// Grows until it is refused, then aborts, as Rust does.
const EAT_MEMORY: &str = "
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    unreachable";

/// The kind of fault of the first exchange.
fn kind(guest: &Guest) -> &'static str {
    exchange(&guest.worker_filter(&runtime())).unwrap_err().cause.label()
}

/// Faults when the first byte of the path is `!`.
fn poisonable() -> Guest {
    Guest::on_event(
        "(if (i32.eq (i32.load8_u (i32.const 4102)) (i32.const 33)) (then unreachable)) (i64.const 0x1000000004)",
    )
}

#[test]
fn case_56_traps() {
    assert_eq!(kind(&Guest::on_event("unreachable")), "trap");
    assert_eq!(kind(&Guest::on_event("(drop (i32.load (i32.const -4))) (i64.const 0)")), "trap");
    assert_eq!(kind(&Guest::on_event("(drop (i32.div_u (i32.const 1) (i32.const 0))) (i64.const 0)")), "trap");
    assert_eq!(kind(&Guest { rest: "(func $f (export \"f\"))", ..Guest::on_event("unreachable") }), "trap");
}

#[test]
fn malformed_answers() {
    for on_event in [
        "(i64.const -1)",
        "(i64.const 0x2000000000001)",
        "(i64.const 0x0001fffd00000004)",
        "(i64.const 0x00000000ffffffff)",
    ] {
        assert_eq!(kind(&Guest::on_event(on_event)), "malformed", "{on_event}");
    }
}

#[test]
fn case_55_buffers_outside_memory() {
    for (buffer, expected) in [("(i32.const -1)", "outside the memory"), ("(i32.const 131071)", "outside the memory")] {
        let guest = Guest { buffer, ..Guest::default() };
        let error = guest.filter(&runtime()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_answer_that_the_reader_refuses_is_a_fault() {
    let worker_filter = Guest::default().worker_filter(&runtime());
    let ticket = worker_filter.enter().unwrap();
    let refuse = |_: &[u8]| Err::<(), _>("header name is not valid");
    let fault = ticket.call(Event::Request, &mut None, 0, |_| Ok(()), refuse).unwrap_err();
    assert_eq!(fault.to_string(), "filter \"test\": malformed answer: header name is not valid");
}

#[test]
fn a_message_longer_than_announced_is_a_fault() {
    let worker_filter = Guest::default().worker_filter(&runtime());
    let ticket = worker_filter.enter().unwrap();
    let read = |_: &[u8]| Ok::<_, std::fmt::Error>(());
    let fault = ticket.call(Event::Request, &mut None, 6, |writer| writer.bytes(tag::PATH, b"/"), read).unwrap_err();
    assert_eq!(fault.cause.label(), "malformed");
}

#[test]
fn case_54_a_loop_ends_soon_after_the_budget() {
    let worker_filter = Guest::on_event(LOOP).worker_filter(&runtime());
    let began = Instant::now();
    let fault = exchange(&worker_filter).unwrap_err();
    let FaultCause::CpuLimit { limit, used } = fault.cause else { panic!("{fault}") };
    assert!(limit == LIMITS.cpu_per_call && used >= limit, "{fault}");
    // The promise is 10 ms more than the budget, of CPU time; this is wall-clock time on a busy machine.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn case_54_a_loop_of_host_calls_ends_too() {
    let guest = Guest {
        imports: r#"(import "meshup" "now_unix" (func $now (result i64)))
            (import "meshup" "sha256" (func $sha256 (param i32 i32 i32)))"#,
        on_event: "(loop $forever (drop (call $now)) (call $sha256 (i32.const 0) (i32.const 131072) (i32.const 0))
            (br $forever)) (i64.const 0)",
        ..Guest::default()
    };
    assert_eq!(kind(&guest), "cpu-limit");
}

#[test]
fn case_57_one_long_host_call_ends_too() {
    let guest = Guest {
        imports: r#"(import "meshup" "random" (func $random (param i32 i32)))"#,
        memory: "16000",
        on_event: "(call $random (i32.const 0) (i32.const 0x3e000000)) (i64.const 0x1000000004)",
        ..Guest::default()
    };
    let runtime = runtime();
    let mut spec = spec(guest.load(&runtime).unwrap());
    spec.limits = FilterLimits { memory_bytes: 1 << 30, cpu_per_call: Duration::from_millis(1) };
    let worker_filter = WorkerFilter::new(Filter::new(&runtime, spec).unwrap());
    assert_eq!(exchange(&worker_filter).unwrap_err().cause.label(), "cpu-limit");
}

#[test]
fn case_54_loops_in_configure_and_in_start_end() {
    let error = Guest { configure: LOOP, ..Guest::default() }.filter(&runtime()).unwrap_err();
    assert!(
        error.to_string().starts_with("filter \"test\": CPU limit of 500ms per call exceeded: it used "),
        "{error}"
    );
    let start = Guest { rest: "(func $start (loop $forever (br $forever))) (start $start)", ..Guest::default() };
    let error = start.load(&runtime()).unwrap_err();
    assert!(
        error.to_string().starts_with("it fails when it is started: CPU limit of 500ms per call exceeded"),
        "{error}"
    );
    let version = Guest { version: "(loop $forever (br $forever)) (i32.const 1)", ..Guest::default() };
    assert!(version.load(&runtime()).is_err());
}

#[test]
fn configure_has_a_larger_budget_than_an_event() {
    // Tens of milliseconds, whatever the machine: more than 1 ms, less than 500.
    let spin = "(local $n i32) (local.set $n (i32.const 100000000))
        (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))";
    let configure = Box::leak(format!("{spin} (i64.const 0)").into_boxed_str());
    let on_event = Box::leak(format!("{spin} {PASS}").into_boxed_str());
    let runtime = runtime();
    let mut spec = spec(Guest { configure, on_event, ..Guest::default() }.load(&runtime).unwrap());
    spec.limits.cpu_per_call = Duration::from_millis(1);
    let worker_filter = WorkerFilter::new(Filter::new(&runtime, spec).unwrap());
    assert_eq!(exchange(&worker_filter).unwrap_err().cause.label(), "cpu-limit");
}

#[test]
fn each_call_has_the_whole_budget() {
    let spin = "(local $n i32) (local.set $n (i32.const 3000000))
        (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (i64.const 0x1000000004)";
    let worker_filter = Guest::on_event(spin).worker_filter(&runtime());
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(60) {
        exchange(&worker_filter).unwrap();
    }
}

#[test]
fn case_55_memory_within_its_limit_and_over_it() {
    let runtime = runtime();
    let fault = exchange(&Guest::on_event(EAT_MEMORY).worker_filter(&runtime)).unwrap_err();
    assert_eq!(fault.to_string(), "filter \"test\": memory limit of 1 MiB exceeded");
    let within =
        "(if (i32.eq (memory.grow (i32.const 14)) (i32.const -1)) (then unreachable)) (i64.const 0x1000000004)";
    exchange(&Guest::on_event(within).worker_filter(&runtime)).unwrap();
    let over = "(if (i32.eq (memory.grow (i32.const 15)) (i32.const -1)) (then unreachable)) (i64.const 0x1000000004)";
    assert_eq!(kind(&Guest::on_event(over)), "memory-limit");
}

#[test]
fn case_55_a_refused_growth_that_the_guest_copes_with_is_no_fault() {
    let cope = "(drop (memory.grow (i32.const 1000)))
        (if (i32.eq (i32.load8_u (i32.const 4102)) (i32.const 33)) (then unreachable)) (i64.const 0x1000000004)";
    exchange(&Guest::on_event(cope).worker_filter(&runtime())).unwrap();
}

#[test]
fn case_55_a_module_that_needs_more_memory_than_its_limit() {
    let error = Guest { memory: "17", ..Guest::default() }.filter(&runtime()).unwrap_err();
    assert_eq!(error.to_string(), "filter \"test\": memory limit of 1 MiB exceeded");
    Guest { memory: "16", ..Guest::default() }.filter(&runtime()).unwrap();
}

#[test]
fn case_56_deep_recursion() {
    assert_eq!(kind(&Guest::on_event("(call $on_event (local.get 0) (local.get 1) (local.get 2))")), "stack-overflow");
}

#[test]
fn a_configuration_that_the_filter_refuses() {
    // verdict-less answer: tag 26 (REFUSED), 4 bytes, "nope" at 32
    let guest = Guest {
        configure: "(i64.const 0x200000000a)",
        rest: r#"(data (i32.const 32) "\1a\00\04\00\00\00nope")"#,
        ..Guest::default()
    };
    let error = guest.filter(&runtime()).unwrap_err();
    assert_eq!(error, ConfigureError::Refused { filter: "test".into(), reason: "nope".into() });
    assert_eq!(error.to_string(), "filter \"test\": configuration refused: nope");
    let trap = Guest { configure: "unreachable", ..Guest::default() };
    assert!(matches!(trap.filter(&runtime()).unwrap_err(), ConfigureError::Faulted(_)));
}

#[test]
fn case_56_the_exchanges_in_a_faulted_instance_are_lost_and_the_next_one_is_served_at_once() {
    let worker_filter = poisonable().worker_filter(&runtime());
    let (waiting, poisoned) = (worker_filter.enter().unwrap(), worker_filter.enter().unwrap());
    request(&waiting, b"/").unwrap();
    assert_eq!(request(&poisoned, b"!").unwrap_err().cause.label(), "trap");
    assert_eq!(request(&waiting, b"/").unwrap_err().cause, FaultCause::InstanceLost);
    exchange(&worker_filter).unwrap();
    assert_eq!(worker_filter.filter().statistics().faults, [("trap", 1), ("instance-lost", 1)]);
}

#[test]
fn case_56_a_filter_that_keeps_faulting_backs_off_and_is_tried_again() {
    let worker_filter = Guest::on_event("unreachable").worker_filter(&runtime());
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| **kind == "trap").count() < 6 {
        assert!(Instant::now() < deadline, "{kinds:?}");
        kinds.push(exchange(&worker_filter).unwrap_err().cause.label());
    }
    assert_eq!(kinds[..3], ["trap", "trap", "backing-off"]);
}

#[test]
fn a_filter_that_fails_every_third_request_serves_the_others() {
    let worker_filter = poisonable().worker_filter(&runtime());
    for n in 0..300 {
        let path: &[u8] = if n % 3 == 2 { b"!" } else { b"/" };
        let result = request(&worker_filter.enter().unwrap(), path);
        assert_eq!(result.is_err(), n % 3 == 2);
    }
}

#[test]
fn case_55_a_full_pool_is_a_fault_until_there_is_room() {
    let runtime = Runtime::new(RuntimeOptions { max_instances: 4, ..RuntimeOptions::default() }).unwrap();
    let spec = isolated(Guest::default().load(&runtime).unwrap());
    let worker_filter = WorkerFilter::new(Filter::new(&runtime, spec).unwrap());
    let mut tickets: Vec<_> = (0..4).map(|_| worker_filter.enter().unwrap()).collect();
    assert_eq!(worker_filter.enter().unwrap_err().cause.label(), "instantiate");
    tickets.pop();
    request(&worker_filter.enter().unwrap(), b"/").unwrap();
}

#[test]
fn an_instance_that_faulted_gives_its_room_back_while_exchanges_hold_on_to_it() {
    let runtime = Runtime::new(RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() }).unwrap();
    let worker_filter = poisonable().worker_filter(&runtime);
    let held: Vec<_> = (0..8).map(|_| worker_filter.enter().unwrap()).collect();
    request(&held[0], b"!").unwrap_err();
    assert_eq!(request(&worker_filter.enter().unwrap(), b"/").unwrap(), [1, 0, 0, 0]);
    assert_eq!(PASS, Guest::default().on_event);
}
