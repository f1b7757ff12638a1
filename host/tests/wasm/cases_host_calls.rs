//! Host calls as a guest would abuse them: each has a quota, a cost and a check of its arguments.

use std::time::{Duration, Instant};

use meshup::{
    config::FilterLimits,
    exchange::Variables,
    wasm::{Fault, Filter, Runtime, WorkerFilter},
};
use meshup_abi::{ABSENT, Event, INVALID, NO_EXCHANGE, QUOTA};

use crate::guest::{Guest, event, info, runtime, spec};

/// Every import: its arguments, `a` for an address, `l` for a length, `n` for any other number, `w` for a wide one and `f`
/// for a fraction, and whether it gives an `i32`, or nothing.
const CALLS: [(&str, &str, bool); 16] = [
    ("log", "nal", false),
    ("random", "al", false),
    ("metric_series", "nal", true),
    ("metric_record", "nnf", true),
    ("metric_records", "al", true),
    ("attribute", "nal", true),
    ("variable", "alal", true),
    ("set_variable", "alal", true),
    ("state_get", "alal", true),
    ("state_set", "alalw", true),
    ("state_compare_and_swap", "alalalw", true),
    ("state_add", "alwwa", true),
    ("state_remove", "al", true),
    ("sha256", "ala", false),
    ("hmac_sha256", "alala", false),
    ("verify", "nalalal", true),
];

fn import(name: &str, arguments: &str, has_result: bool) -> String {
    let kind = |argument| match argument {
        'w' => "i64",
        'f' => "f64",
        _ => "i32",
    };
    let params: Vec<_> = arguments.chars().map(kind).collect();
    let result = if has_result { "(result i32)" } else { "" };
    format!(r#"(import "meshup" "{name}" (func $call (param {}) {result}))"#, params.join(" "))
}

/// Evaluates `body`, an `i32`, in a guest of 1 MiB with `imports`, and gives its value.
fn evaluate_in(runtime: &std::sync::Arc<Runtime>, imports: &str, body: &str) -> Result<i32, Fault> {
    let guest = Guest {
        imports: imports.to_owned().leak(),
        memory: "16",
        on_event: format!("(i32.store (i32.const 8) {body}) (i64.const 0x800000004)").leak(),
        ..Guest::default()
    };
    let mut spec = spec(guest.load(runtime).unwrap());
    spec.limits = FilterLimits { cpu_per_call: Duration::from_secs(5), ..spec.limits };
    let worker_filter = WorkerFilter::new(Filter::new(runtime, spec).unwrap());
    let answer = event(&worker_filter.enter()?, Event::Request, b"/", &mut Some(info()))?;
    Ok(i32::from_le_bytes(answer.try_into().unwrap()))
}

fn evaluate(imports: &str, body: &str) -> Result<i32, Fault> {
    evaluate_in(&runtime(), imports, body)
}

#[test]
fn case_57_addresses_and_lengths_of_every_kind_in_every_place() {
    // Beyond the memory, negative, past 2 GiB, and wrapping around.
    let evil = ["0x7fffffff", "-1", "-8", "0x80000000", "0x100000"];
    let (runtime, mut faults) = (runtime(), 0);
    for (name, arguments, has_result) in CALLS {
        let import = import(name, arguments, has_result);
        for at in 0..arguments.len() {
            for evil in evil {
                let argument = |(place, kind)| match kind {
                    'w' => "(i64.const -1)".into(),
                    'f' => "(f64.const nan)".into(),
                    _ if place == at => format!("(i32.const {evil})"),
                    'a' => "(i32.const 1024)".into(),
                    _ => "(i32.const 1)".into(),
                };
                let given: Vec<String> = arguments.chars().enumerate().map(argument).collect();
                let call = format!("(call $call {})", given.join(" "));
                let body = if has_result { call } else { format!("(block (result i32) {call} (i32.const 0))") };
                match evaluate_in(&runtime, &import, &body) {
                    Ok(result) => assert!(result <= 1024, "{name} {given:?} gives {result}"),
                    Err(fault) => {
                        assert_eq!(fault.cause.label(), "malformed", "{name} {given:?}: {fault}");
                        faults += 1;
                    }
                }
            }
        }
    }
    assert!(faults > 100, "{faults}");
}

/// `call` again and again until its result is `until`; how often, or -1 after `most`.
fn flood(call: &str, until: i32, most: u32) -> String {
    format!(
        "(block $done (result i32)
            (loop $more
                (i32.store (i32.const 256) (i32.add (i32.load (i32.const 256)) (i32.const 1)))
                (drop (br_if $done (i32.load (i32.const 256)) (i32.eq {call} (i32.const {until}))))
                (br_if $more (i32.lt_u (i32.load (i32.const 256)) (i32.const {most}))))
            (i32.const -1))"
    )
}

#[test]
fn case_57_floods_end_at_a_quota() {
    let state = import("state_set", "alalw", true);
    // Keys are the number of the call.
    let keys = "(call $call (i32.const 256) (i32.const 4) (i32.const 0) (i32.const 0) (i64.const 0))";
    assert_eq!(evaluate(&state, &flood(keys, QUOTA, 1_000_000)).unwrap(), 65_537);
    let bytes = "(call $call (i32.const 256) (i32.const 4) (i32.const 0) (i32.const 65536) (i64.const 0))";
    assert_eq!(evaluate(&state, &flood(bytes, QUOTA, 1_000_000)).unwrap(), 256);
    let long = "(call $call (i32.const 256) (i32.const 4) (i32.const 0) (i32.const 65537) (i64.const 0))";
    assert_eq!(evaluate(&state, long).unwrap(), INVALID);

    let variable = import("set_variable", "alal", true);
    // Names are letters made of the number of the call.
    let letters = "(block (result i32)
        (i32.store8 (i32.const 260) (i32.add (i32.const 65) (i32.and (i32.load (i32.const 256)) (i32.const 15))))
        (i32.store8 (i32.const 261) (i32.add (i32.const 65) (i32.shr_u (i32.load8_u (i32.const 256)) (i32.const 4))))
        (i32.store8 (i32.const 262) (i32.add (i32.const 65) (i32.load8_u (i32.const 257))))
        (call $call (i32.const 260) (i32.const 3) (i32.const 0) (i32.const 0)))";
    let many = evaluate(&variable, &flood(letters, QUOTA, 1_000_000)).unwrap();
    assert_eq!(many, Variables::MAX_ENTRIES as i32 + 1);
    let large = "(call $call (i32.const 256) (i32.const 0) (i32.const 0) (i32.const 16384))";
    assert_eq!(evaluate(&variable, large).unwrap(), INVALID);
}

#[test]
fn case_57_variables_are_few() {
    let mut variables = Variables::default();
    for n in 0..Variables::MAX_ENTRIES {
        assert!(variables.set(n.to_string().as_bytes(), b""));
    }
    assert!(!variables.set(b"one more", b""));
    assert!(variables.set(b"0", b"changed"));
}

#[test]
fn case_57_a_series_is_asked_for_in_few_words() {
    let series = import("metric_series", "nal", true);
    // A name, and a field that nobody knows.
    let message = |padding: u32| {
        format!(
            "(block (result i32)
                (i64.store (i32.const 1024) (i64.const 0x6968000000040017)) (i32.store16 (i32.const 1032) (i32.const 0x7374))
                (i32.store16 (i32.const 1034) (i32.const 0x7fff)) (i32.store (i32.const 1036) (i32.const {padding}))
                (call $call (i32.const 1) (i32.const 1024) (i32.const {})))",
            16 + padding
        )
    };
    assert_eq!(evaluate(&series, &message(1000)).unwrap(), 0);
    assert_eq!(evaluate(&series, &message(100_000)).unwrap(), INVALID, "100 KB would be kept for each of 1,000 series");
    assert_eq!(evaluate(&series, &message(1_000_000)).unwrap(), INVALID);
}

#[test]
fn case_57_keys_that_cannot_be_are_not_looked_for() {
    let get = import("state_get", "alal", true);
    let long = "(call $call (i32.const 0) (i32.const 0x100000) (i32.const 0) (i32.const 0))";
    assert_eq!(evaluate(&get, long).unwrap(), ABSENT);
    let remove = import("state_remove", "al", true);
    assert_eq!(evaluate(&remove, "(call $call (i32.const 0) (i32.const 0x100000))").unwrap(), 0);
    let verify = import("verify", "nalalal", true);
    let key = "(call $call (i32.const 1) (i32.const 0) (i32.const 0x100000) (i32.const 0) (i32.const 1)
        (i32.const 0) (i32.const 1))";
    assert_eq!(evaluate(&verify, key).unwrap(), INVALID);
}

#[test]
fn case_57_a_million_calls_of_anything_end_within_the_budget() {
    for (name, arguments, has_result) in CALLS {
        let given: Vec<_> = arguments
            .chars()
            .map(|kind| match kind {
                'a' => "(i32.const 1024)",
                'l' => "(i32.const 64)",
                'w' => "(i64.const 1)",
                'f' => "(f64.const 1)",
                _ => "(i32.const 1)",
            })
            .collect();
        let call = format!("(call $call {})", given.join(" "));
        let dropped = if has_result { format!("(drop {call})") } else { call };
        let guest = Guest {
            imports: import(name, arguments, has_result).leak(),
            memory: "16",
            on_event: format!(
                "(local $n i32) (loop $more {dropped}
                    (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000))))
                 (i64.const 0x1000000004)"
            )
            .leak(),
            ..Guest::default()
        };
        let worker_filter = guest.worker_filter(&runtime());
        let began = Instant::now();
        let ended = event(&worker_filter.enter().unwrap(), Event::Request, b"/", &mut Some(info()));
        assert!(ended.is_ok() || ended.unwrap_err().cause.label() == "cpu-limit", "{name}");
        assert!(began.elapsed() < Duration::from_secs(5), "{name}: {:?}", began.elapsed());
    }
}

#[test]
fn case_57_calls_in_the_wrong_phase() {
    for (name, arguments) in [("attribute", "nal"), ("variable", "alal"), ("set_variable", "alal")] {
        let given: Vec<_> =
            arguments.chars().map(|kind| if kind == 'a' { "(i32.const 1024)" } else { "(i32.const 1)" }).collect();
        let guest = Guest {
            imports: import(name, arguments, true).leak(),
            configure: format!(
                "(i32.store8 (i32.const 1024) (i32.const 97))
                 (if (i32.ne (call $call {}) (i32.const {NO_EXCHANGE})) (then unreachable)) (i64.const 0)",
                given.join(" ")
            )
            .leak(),
            ..Guest::default()
        };
        guest.filter(&runtime()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn case_60_filters_have_a_state_of_their_own() {
    let runtime = runtime();
    let set = import("state_set", "alalw", true);
    let keep = Guest::default().filter(&runtime).unwrap();
    let body = "(call $call (i32.const 16) (i32.const 1) (i32.const 16) (i32.const 1) (i64.const 0))";
    assert_eq!(evaluate_in(&runtime, &set, body).unwrap(), 0);
    let get = import("state_get", "alal", true);
    let body = "(call $call (i32.const 16) (i32.const 1) (i32.const 1024) (i32.const 64))";
    assert_eq!(evaluate_in(&runtime, &get, body).unwrap(), 1, "the same filter's");
    let guest = Guest {
        imports: get.leak(),
        on_event: format!("(i32.store (i32.const 8) {body}) (i64.const 0x800000004)").leak(),
        ..Guest::default()
    };
    let mut spec = spec(guest.load(&runtime).unwrap());
    spec.name = "other".into();
    let other = WorkerFilter::new(Filter::new(&runtime, spec).unwrap());
    let answer = event(&other.enter().unwrap(), Event::Request, b"/", &mut Some(info())).unwrap();
    assert_eq!(answer, ABSENT.to_le_bytes());
    drop(keep);
}

#[test]
fn case_60_variables_are_those_of_one_exchange() {
    let guest = Guest {
        imports: r#"(import "meshup" "set_variable" (func $set (param i32 i32 i32 i32) (result i32)))
            (import "meshup" "variable" (func $get (param i32 i32 i32 i32) (result i32)))"#,
        on_event: "(i32.store8 (i32.const 1024) (i32.const 97))
            (i32.store (i32.const 8) (call $get (i32.const 1024) (i32.const 1) (i32.const 2048) (i32.const 8)))
            (drop (call $set (i32.const 1024) (i32.const 1) (i32.const 1024) (i32.const 1)))
            (i64.const 0x800000004)",
        ..Guest::default()
    };
    let worker_filter = guest.worker_filter(&runtime());
    let (mut one, mut other) = (Some(info()), Some(info()));
    let ticket = worker_filter.enter().unwrap();
    let found = |info: &mut _| event(&ticket, Event::Request, b"/", info).unwrap();
    assert_eq!(found(&mut one), ABSENT.to_le_bytes());
    assert_eq!(found(&mut other), ABSENT.to_le_bytes(), "another exchange's");
    assert_eq!(found(&mut one), 1_i32.to_le_bytes());
    assert_eq!(found(&mut None), NO_EXCHANGE.to_le_bytes());
}
