//! Hostile guests, as whoever wants the host's memory, time or secrets would write them.

use std::time::{Duration, Instant};

use meshup::{
    config::FilterLimits,
    wasm::{FaultCause, Filter, Priority, Runtime, RuntimeOptions, WorkerFilter},
};

use crate::guest::{Guest, PASS, exchange, isolated, request, runtime, spec};

/// The kind of fault of the first exchange.
fn kind(guest: &Guest) -> &'static str {
    exchange(&guest.worker_filter(&runtime())).unwrap_err().cause.label()
}

/// Of a filter that is fine the first time it is configured, and then does `later`: the number of setups is kept in the
/// state that its instances share.
fn fine_at_first(later: &str) -> Guest {
    Guest {
        imports: r#"(import "meshup" "state_add" (func $add (param i32 i32 i64 i64 i32) (result i32)))"#,
        configure: format!(
            "(drop (call $add (i32.const 16) (i32.const 1) (i64.const 1) (i64.const 0) (i32.const 512)))
             (if (i64.gt_s (i64.load (i32.const 512)) (i64.const 1)) (then {later})) (i64.const 0)"
        )
        .leak(),
        ..Guest::default()
    }
}

#[test]
fn case_54_a_setup_that_loops_when_it_counts_is_paused() {
    for isolated in [false, true] {
        let runtime = runtime();
        let guest = fine_at_first("(loop $forever (br $forever))");
        let module = guest.load(&runtime).unwrap();
        let spec = if isolated { crate::guest::isolated(module) } else { spec(module) };
        let worker_filter = WorkerFilter::new(Filter::new(&runtime, spec).unwrap());
        assert_eq!(exchange(&worker_filter).unwrap_err().cause.label(), "cpu-limit");
        let deadline = Instant::now() + Duration::from_secs(30);
        while exchange(&worker_filter).unwrap_err().cause.label() != "backing-off" {
            assert!(Instant::now() < deadline, "each exchange costs the worker a whole setup");
        }
    }
}

#[test]
fn case_54_loops_without_a_loop() {
    let rest = "(func $a (result i64) (return_call $b)) (func $b (result i64) (return_call $a))";
    assert_eq!(kind(&Guest { rest, ..Guest::on_event("(call $a)") }), "cpu-limit");
    let buffer = "(if (i32.ne (i32.load8_u (i32.const 9)) (i32.const 0)) (then (loop $forever (br $forever))))
        (i32.store8 (i32.const 9) (i32.const 1)) (i32.const 4096)";
    assert_eq!(kind(&Guest { buffer, ..Guest::default() }), "cpu-limit");
}

#[test]
fn case_55_tables_have_a_limit() {
    let grow = "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))))
        unreachable";
    assert_eq!(kind(&Guest { rest: "(table $t 1 funcref)", ..Guest::on_event(grow) }), "memory-limit");
    let large = Guest { rest: "(table 20001 funcref)", ..Guest::default() }.load(&runtime()).unwrap_err();
    assert!(large.to_string().contains("table"), "{large}");
    let many = Guest { rest: "(table 1 funcref) (table 1 funcref) (table 1 funcref)", ..Guest::default() };
    let many = many.load(&runtime()).unwrap_err();
    assert!(many.to_string().contains("table"), "{many}");
    let memories = Guest { rest: "(memory 1)", ..Guest::default() };
    assert!(memories.load(&runtime()).is_err());
}

/// Takes 512 MiB when it is started, and writes to each page.
#[test]
fn case_55_a_start_function_gets_no_more_memory_than_its_filters() {
    let rest = "(func $start (if (i32.eq (memory.grow (i32.const 8192)) (i32.const -1)) (then unreachable))
        (memory.fill (i32.const 131072) (i32.const 1) (i32.const 0x20000000))) (start $start)";
    let hungry = Guest { rest, ..Guest::default() }.wasm();
    let before = resident();
    let error = runtime().load_with(&hungry, Priority::Normal, 16 << 20).unwrap_err();
    assert_eq!(error.to_string(), "it fails when it is started: memory limit of 16 MiB exceeded");
    let after = resident();
    assert!(after < before + 200_000, "{before} KiB before, {after} KiB at the most");
}

/// The most memory that this process ever had, KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn case_55_an_allocator_that_gives_a_bad_address() {
    let later = |address: &str| {
        format!(
            "(if (i32.ne (i32.load8_u (i32.const 9)) (i32.const 0)) (then (return {address})))
             (i32.store8 (i32.const 9) (i32.const 1)) (i32.const 4096)"
        )
    };
    for address in ["(i32.const -1)", "(i32.const 131070)", "(i32.const -2147483648)", "(i32.const 2147483647)"] {
        let guest = Guest { buffer: later(address).leak(), ..Guest::default() };
        assert_eq!(kind(&guest), "malformed", "{address}");
    }
}

#[test]
fn case_56_every_trap_is_the_guests_own() {
    for (on_event, expected) in [
        ("(drop (i32.trunc_f64_s (f64.const 1e300))) (i64.const 0)", "trap"),
        ("(drop (i32.div_s (i32.const -2147483648) (i32.const -1))) (i64.const 0)", "trap"),
        ("(call_indirect $t (type $none) (i32.const 0)) (i64.const 0)", "trap"),
        ("(call_indirect $t (type $none) (i32.const 99)) (i64.const 0)", "trap"),
        ("(call_indirect $t (type $none) (i32.const 1)) (i64.const 0)", "trap"),
        ("(memory.fill (i32.const 131071) (i32.const 0) (i32.const 2)) (i64.const 0)", "trap"),
        ("(memory.copy (i32.const -1) (i32.const 0) (i32.const -1)) (i64.const 0)", "trap"),
        ("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 9)) (i64.const 0)", "trap"),
        ("(table.set $t (i32.const 9) (ref.null func)) (i64.const 0)", "trap"),
    ] {
        let rest = r#"(type $none (func)) (table $t 2 funcref) (elem (i32.const 1) $on_event) (data $d "ab")"#;
        assert_eq!(kind(&Guest { rest, ..Guest::on_event(on_event) }), expected, "{on_event}");
    }
}

#[test]
fn case_56_deep_recursion_that_calls_the_host_all_the_way() {
    let guest = Guest {
        imports: r#"(import "meshup" "log" (func $log (param i32 i32 i32)))
            (import "meshup" "verify" (func $verify (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "meshup" "hmac_sha256" (func $hmac (param i32 i32 i32 i32 i32)))"#,
        rest: "(func $deep
            (call $log (i32.const 1) (i32.const 0) (i32.const 8192))
            (call $hmac (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 99) (i32.const 512))
            (drop (call $verify (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 0) (i32.const 32)
                (i32.const 0) (i32.const 64)))
            (call $deep))",
        ..Guest::on_event("(call $deep) (i64.const 0)")
    };
    let runtime = runtime();
    let mut spec = spec(guest.load(&runtime).unwrap());
    // Enough to get to the end of the stack.
    spec.limits = FilterLimits { cpu_per_call: Duration::from_secs(10), ..spec.limits };
    let worker_filter = WorkerFilter::new(Filter::new(&runtime, spec).unwrap());
    assert_eq!(exchange(&worker_filter).unwrap_err().cause.label(), "stack-overflow");
    exchange(&Guest::default().worker_filter(&runtime)).unwrap();
}

#[test]
fn case_56_recursion_in_every_export() {
    let runtime = runtime();
    let rest = "(func $deep (call $deep))";
    let deep = |guest: Guest| guest.load(&runtime).map_err(|error| error.to_string());
    let start = deep(Guest { rest: "(func $deep (call $deep)) (start $deep)", ..Guest::default() }).unwrap_err();
    assert!(start.contains("stack overflow"), "{start}");
    let version = deep(Guest { version: "(call $deep) (i32.const 1)", rest, ..Guest::default() }).unwrap_err();
    assert!(version.contains("stack overflow"), "{version}");
    let configure = Guest { configure: "(call $deep) (i64.const 0)", rest, ..Guest::default() };
    assert!(configure.filter(&runtime).unwrap_err().to_string().contains("stack overflow"));
}

#[test]
fn case_56_what_a_guest_calls_its_functions_is_not_logged_without_end() {
    let name = "x".repeat(90_000);
    let text = Guest::on_event("(call $f) (i64.const 0)").text();
    let text = text.replace("$f)", &format!("${name})")).replace("$on_event", "$e");
    let text = format!("{} (func ${name} unreachable))", text.trim_end().trim_end_matches(')'));
    let runtime = runtime();
    let filter = Filter::new(&runtime, spec(runtime.load(&wat::parse_str(text).unwrap()).unwrap())).unwrap();
    let fault = exchange(&WorkerFilter::new(filter)).unwrap_err();
    assert!(matches!(fault.cause, FaultCause::Trap { .. }) && fault.to_string().len() < 1000, "{fault}");
}

/// Writes all over its memory and its growth, or adds up what stands there before it did anything.
fn hoarder(secret: bool) -> Guest {
    let on_event = if secret {
        "(drop (memory.grow (i32.const 8)))
         (memory.fill (i32.const 8192) (i32.const 0x5a) (i32.const 647168))
         (table.set $t (i32.const 3) (ref.func $on_event)) (global.set $g (i32.const 0x5a5a5a5a))
         (i64.const 0x1000000004)"
    } else {
        "(local $at i32) (local $sum i32)
         (drop (memory.grow (i32.const 8)))
         (local.set $at (i32.const 8192))
         (loop $more
            (local.set $sum (i32.or (local.get $sum) (i32.load (local.get $at))))
            (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 655360))))
         (i32.store (i32.const 8) (i32.or (local.get $sum) (i32.or (global.get $g)
            (i32.eqz (ref.is_null (table.get $t (i32.const 3)))))))
         (i64.const 0x800000004)"
    };
    Guest {
        rest: "(table $t 4 funcref) (global $g (mut i32) (i32.const 0)) (elem declare func $on_event)",
        ..Guest::on_event(on_event)
    }
}

#[test]
fn case_60_memory_of_an_instance_is_never_seen_by_the_next_one() {
    // One slot, which every instance gets in turn.
    let runtime = Runtime::new(RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() }).unwrap();
    let filter = |guest: &Guest| {
        let mut spec = isolated(guest.load(&runtime).unwrap());
        spec.limits.cpu_per_call = Duration::from_secs(5);
        WorkerFilter::new(Filter::new(&runtime, spec).unwrap())
    };
    let (hoarder, other) = (filter(&hoarder(true)), filter(&hoarder(false)));
    for _ in 0..20 {
        assert_eq!(exchange(&hoarder).unwrap(), [1, 0, 0, 0]);
        assert_eq!(exchange(&other).unwrap(), [0; 4], "another filter's memory, table or global");
    }
}

#[test]
fn case_60_an_instance_after_a_fault_knows_nothing_of_the_one_before() {
    let guest = Guest::on_event(
        "(i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1)))
         (if (i32.eq (i32.load8_u (i32.const 4102)) (i32.const 33)) (then unreachable)) (i64.const 0x800000001)",
    );
    let worker_filter = guest.worker_filter(&runtime());
    assert_eq!(exchange(&worker_filter).unwrap(), [1]);
    assert_eq!(exchange(&worker_filter).unwrap(), [2]);
    request(&worker_filter.enter().unwrap(), b"!").unwrap_err();
    assert_eq!(exchange(&worker_filter).unwrap(), [1]);
    assert_ne!(PASS, guest.on_event);
}
