//! The functions guests import, called by a guest: arguments arrive, results come back, addresses are checked.

use std::{sync::Arc, time::Duration};

use meshup::{
    exchange::ExchangeInfo,
    wasm::{Fault, Filter, Runtime, WorkerFilter},
};
use meshup_abi::{ABSENT, Attribute, Event, INVALID, NO_EXCHANGE, QUOTA};

use crate::guest::{Guest, event, info, runtime, spec};

/// What a guest did: the `i32` a host call gave, and the bytes it wrote to `OUT`.
struct Outcome {
    result: i32,
    out: Vec<u8>,
    info: Option<Box<ExchangeInfo>>,
}

/// Where guests have host calls write to.
const OUT: usize = 512;

/// A guest whose `on_event` evaluates `body`, an `i32`, with one import and some text at address 256.
fn filter(runtime: &Arc<Runtime>, import: &str, text: &str, body: &str) -> Arc<Filter> {
    let guest = Guest {
        imports: format!(r#"(import "meshup" {import})"#).leak(),
        on_event: format!("(i32.store (i32.const 8) {body}) (i64.const 1024)").leak(),
        rest: format!(r#"(data (i32.const 256) "{text}")"#).leak(),
        ..Guest::default()
    };
    Filter::new(runtime, spec(guest.load(runtime).unwrap())).unwrap()
}

fn run_in(
    runtime: &Arc<Runtime>,
    info: Option<Box<ExchangeInfo>>,
    import: &str,
    text: &str,
    body: &str,
) -> Result<Outcome, Fault> {
    let mut info = info;
    let worker_filter = WorkerFilter::new(filter(runtime, import, text, body));
    let memory = event(&worker_filter.enter()?, Event::Request, b"/", &mut info)?;
    let result = i32::from_le_bytes(memory[8..12].try_into().unwrap());
    Ok(Outcome { result, out: memory[OUT..OUT + 64].to_vec(), info })
}

fn run(import: &str, text: &str, body: &str) -> Result<Outcome, Fault> {
    run_in(&runtime(), Some(info()), import, text, body)
}

const ATTRIBUTE: &str = r#""attribute" (func $call (param i32 i32 i32) (result i32))"#;

fn attribute(id: u32, info: Option<Box<ExchangeInfo>>) -> Outcome {
    let body = format!("(call $call (i32.const {id}) (i32.const {OUT}) (i32.const 64))");
    run_in(&runtime(), info, ATTRIBUTE, "", &body).unwrap()
}

fn attribute_text(attribute_id: Attribute) -> String {
    let Outcome { result, out, .. } = attribute(attribute_id.code(), Some(info()));
    String::from_utf8(out[..usize::try_from(result).unwrap()].to_vec()).unwrap()
}

#[test]
fn attributes() {
    assert_eq!(attribute_text(Attribute::ClientAddress), "192.0.2.7");
    assert_eq!(attribute_text(Attribute::ClientPort), "4711");
    assert_eq!(attribute_text(Attribute::ServerAddress), "127.0.0.1:8080");
    assert_eq!(attribute_text(Attribute::Listener), "http");
    assert_eq!(attribute_text(Attribute::Route), "orders");
    assert_eq!(attribute_text(Attribute::RoutePrefix), "/v1");
    assert_eq!(attribute_text(Attribute::Protocol), "HTTP/2");
    assert_eq!(attribute_text(Attribute::Generation), "3");
    assert_eq!(attribute_text(Attribute::Attempts), "0");
    assert_eq!(attribute_text(Attribute::StartTime), "\x05\0\0\0\0\0\0\0");
    let mut asked_first = ExchangeInfo { started_at: None, ..*info() };
    let first = asked_first.started_at();
    assert!(first.elapsed().unwrap() < Duration::from_secs(60));
    assert_eq!(asked_first.started_at(), first);
    for absent in [Attribute::Upstream, Attribute::Endpoint, Attribute::TlsVersion, Attribute::PeerSpiffe] {
        assert_eq!(attribute(absent.code(), Some(info())).result, ABSENT);
    }
    let without_prefix = Box::new(ExchangeInfo { route_prefix: None, ..*info() });
    assert_eq!(attribute(Attribute::RoutePrefix.code(), Some(without_prefix)).result, ABSENT);
    assert_eq!(attribute(99, Some(info())).result, INVALID);
    assert_eq!(attribute(Attribute::Route.code(), None).result, NO_EXCHANGE);
}

#[test]
fn the_request_id_is_made_once() {
    let made = attribute(Attribute::RequestId.code(), Some(info()));
    assert_eq!(made.result, 32);
    let id = made.info.unwrap().request_id.unwrap();
    assert_eq!(id.as_bytes(), &made.out[..32]);
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let known = Box::new(ExchangeInfo { request_id: Some("abc".into()), ..*info() });
    assert_eq!(attribute(Attribute::RequestId.code(), Some(known)).out[..4], *b"abc\0");
}

#[test]
fn a_value_too_long_for_its_place_is_not_written() {
    let body = format!("(call $call (i32.const 5) (i32.const {OUT}) (i32.const 5))");
    let Outcome { result, out, .. } = run(ATTRIBUTE, "", &body).unwrap();
    assert_eq!((result, &out[..6]), (6, &[0; 6][..]));
}

#[test]
fn variables() {
    let set = r#""set_variable" (func $call (param i32 i32 i32 i32) (result i32))"#;
    let outcome =
        run(set, "userjoe", "(call $call (i32.const 256) (i32.const 4) (i32.const 260) (i32.const 3))").unwrap();
    let info = outcome.info.unwrap();
    assert_eq!((outcome.result, info.variables.get(b"user")), (0, Some(&b"joe"[..])));

    let get = r#""variable" (func $call (param i32 i32 i32 i32) (result i32))"#;
    let body = format!("(call $call (i32.const 256) (i32.const 4) (i32.const {OUT}) (i32.const 64))");
    let outcome = run_in(&runtime(), Some(info), get, "user", &body).unwrap();
    assert_eq!((outcome.result, &outcome.out[..4]), (3, &b"joe\0"[..]));
    assert_eq!(run(get, "none", &body).unwrap().result, ABSENT);
    assert_eq!(run(get, "\\ff\\ff\\ff\\ff", &body).unwrap().result, INVALID);
    assert_eq!(run_in(&runtime(), None, get, "user", &body).unwrap().result, NO_EXCHANGE);
    let long = "(call $call (i32.const 256) (i32.const 4) (i32.const 0) (i32.const 17000))";
    assert_eq!(run(set, "user", long).unwrap().result, QUOTA);
}

#[test]
fn state_is_shared_by_the_instances_of_a_filter_and_survives_its_replacement() {
    let runtime = runtime();
    let set = r#""state_set" (func $call (param i32 i32 i32 i32 i64) (result i32))"#;
    let set_body = "(call $call (i32.const 256) (i32.const 1) (i32.const 257) (i32.const 3) (i64.const 0))";
    let get = r#""state_get" (func $call (param i32 i32 i32 i32) (result i32))"#;
    let get_body = format!("(call $call (i32.const 256) (i32.const 1) (i32.const {OUT}) (i32.const 64))");
    // The next generation's filter is made before the last one's goes.
    let next = filter(&runtime, get, "k", &get_body);
    assert_eq!(run_in(&runtime, None, set, "kabc", set_body).unwrap().result, 0);
    let outcome = run_in(&runtime, None, get, "k", &get_body).unwrap();
    assert_eq!((outcome.result, &outcome.out[..4]), (3, &b"abc\0"[..]));
    assert_eq!(run_in(&runtime, None, get, "x", &get_body).unwrap().result, ABSENT);
    let too_long = "(call $call (i32.const 0) (i32.const 1025) (i32.const 0) (i32.const 0) (i64.const 0))";
    assert_eq!(run_in(&runtime, None, set, "", too_long).unwrap().result, INVALID);
    drop(next);
    assert_eq!(run_in(&runtime, None, get, "k", &get_body).unwrap().result, ABSENT);
}

#[test]
fn state_compare_and_swap_and_add_and_remove() {
    let runtime = runtime();
    let _keep = Guest::default().filter(&runtime).unwrap();
    let swap = r#""state_compare_and_swap" (func $call (param i32 i32 i32 i32 i32 i32 i64) (result i32))"#;
    let swap_body = |expected: i32| {
        format!(
            "(call $call (i32.const 256) (i32.const 1) (i32.const 257) (i32.const {expected}) (i32.const 258) \
             (i32.const 1) (i64.const 0))"
        )
    };
    let result = |import, text, body: &str| run_in(&runtime, None, import, text, body).unwrap().result;
    assert_eq!(result(swap, "kxa", &swap_body(1)), 0);
    assert_eq!(result(swap, "kxa", &swap_body(-1)), 1);
    assert_eq!(result(swap, "kab", &swap_body(1)), 1);

    let add = r#""state_add" (func $call (param i32 i32 i64 i64 i32) (result i32))"#;
    let add_body = format!("(call $call (i32.const 256) (i32.const 1) (i64.const -3) (i64.const 0) (i32.const {OUT}))");
    assert_eq!(result(add, "k", &add_body), INVALID);
    assert_eq!(result(add, "n", &add_body), 0);
    assert_eq!(run_in(&runtime, None, add, "n", &add_body).unwrap().out[..8], (-6_i64).to_le_bytes());

    let remove = r#""state_remove" (func $call (param i32 i32) (result i32))"#;
    let remove_body = "(call $call (i32.const 256) (i32.const 1))";
    assert_eq!([result(remove, "n", remove_body), result(remove, "n", remove_body)], [1, 0]);
}

#[test]
fn digests_and_random_numbers() {
    let sha = r#""sha256" (func $call (param i32 i32 i32))"#;
    let body = format!("(call $call (i32.const 256) (i32.const 3) (i32.const {OUT})) (i32.const 0)");
    let out = run(sha, "abc", &format!("(block (result i32) {body})")).unwrap().out;
    assert_eq!(out[..4], [0xba, 0x78, 0x16, 0xbf]);

    let hmac = r#""hmac_sha256" (func $call (param i32 i32 i32 i32 i32))"#;
    let body = format!(
        "(block (result i32)
            (call $call (i32.const 256) (i32.const 4) (i32.const 260) (i32.const 28) (i32.const {OUT})) (i32.const 0))"
    );
    let out = run(hmac, "Jefewhat do ya want for nothing?", &body).unwrap().out;
    assert_eq!(out[..4], [0x5b, 0xdc, 0xc1, 0x46]);

    let random = r#""random" (func $call (param i32 i32))"#;
    let body = format!("(block (result i32) (call $call (i32.const {OUT}) (i32.const 32)) (i32.const 0))");
    let [one, other] = [(); 2].map(|()| run(random, "", &body).unwrap().out);
    assert!(one != other && one[32..] == [0; 32]);
}

#[test]
fn verify_reads_its_seven_arguments_in_order() {
    let verify = r#""verify" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32))
        ) (import "meshup" "hmac_sha256" (func $hmac (param i32 i32 i32 i32 i32))"#;
    let body = |algorithm: u32, data_len: u32| {
        format!(
            "(block (result i32)
                (call $hmac (i32.const 256) (i32.const 4) (i32.const 260) (i32.const 4) (i32.const {OUT}))
                (call $call (i32.const {algorithm}) (i32.const 256) (i32.const 4) (i32.const 260)
                    (i32.const {data_len}) (i32.const {OUT}) (i32.const 32)))"
        )
    };
    assert_eq!(run(verify, "keydataa", &body(4, 4)).unwrap().result, 1);
    assert_eq!(run(verify, "keydataa", &body(4, 3)).unwrap().result, 0);
    assert_eq!(run(verify, "keydataa", &body(1, 4)).unwrap().result, INVALID);
    assert_eq!(run(verify, "keydataa", &body(9, 4)).unwrap().result, INVALID);
}

#[test]
fn metric_series_have_handles() {
    let import = r#""metric_series" (func $series (param i32 i32 i32) (result i32)))
        (import "meshup" "metric_record" (func $record (param i32 i32 f64) (result i32))"#;
    let message = "\\17\\00\\04\\00\\00\\00hits";
    let series = |kind: u32| format!("(call $series (i32.const {kind}) (i32.const 256) (i32.const 10))");
    let record = |op: u32, value: &str| format!("(call $record {} (i32.const {op}) (f64.const {value}))", series(1));
    assert_eq!(run(import, message, &series(1)).unwrap().result, 0);
    assert_eq!(run(import, message, &series(9)).unwrap().result, INVALID);
    assert_eq!(run(import, "rubbish", &series(1)).unwrap().result, INVALID);
    assert_eq!(run(import, message, &record(1, "2")).unwrap().result, 0);
    assert_eq!(run(import, message, &record(1, "-2")).unwrap().result, INVALID);
    assert_eq!(run(import, message, &record(2, "2")).unwrap().result, INVALID);
}

#[test]
fn many_values_are_recorded_by_one_call_and_those_that_are_not_valid_are_told() {
    let import = r#""metric_series" (func $series (param i32 i32 i32) (result i32)))
        (import "meshup" "metric_records" (func $records (param i32 i32) (result i32))"#;
    let record = |series: i32, op: u32, value: f64| {
        let bytes = [&series.to_le_bytes()[..], &op.to_le_bytes(), &value.to_le_bytes()].concat();
        bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>()
    };
    let call = |records: &str, len: usize| {
        let message = format!("\\17\\00\\04\\00\\00\\00hits{records}");
        let body = format!(
            "(i32.add (call $series (i32.const 1) (i32.const 256) (i32.const 10))
                (call $records (i32.const 266) (i32.const {len})))"
        );
        run(import, &message, &body).unwrap().result
    };
    let sound = record(0, 1, 2.0);
    assert_eq!(call(&sound.repeat(3), 48), 0);
    assert_eq!(call("", 0), 0);
    for refused in [record(1, 1, 2.0), record(-1, 1, 2.0), record(0, 2, 2.0), record(0, 9, 2.0), record(0, 1, -2.0)] {
        assert_eq!(call(&format!("{refused}{sound}"), 32), INVALID, "{refused}");
    }
    assert_eq!(call(&sound, 15), INVALID);
    assert_eq!(call(&sound, 16 * 1025), INVALID);
}

#[test]
fn case_57_addresses_outside_memory_are_faults_everywhere() {
    let bad = "(i32.const -8)";
    let calls: [(&str, &str, u32); 8] = [
        ("log", "(param i32 i32 i32)", 3),
        ("random", "(param i32 i32)", 2),
        ("sha256", "(param i32 i32 i32)", 3),
        ("hmac_sha256", "(param i32 i32 i32 i32 i32)", 5),
        ("metric_series", "(param i32 i32 i32) (result i32)", 3),
        ("attribute", "(param i32 i32 i32) (result i32)", 3),
        ("variable", "(param i32 i32 i32 i32) (result i32)", 4),
        ("state_get", "(param i32 i32 i32 i32) (result i32)", 4),
    ];
    for (name, signature, arguments) in calls {
        let import = format!(r#""{name}" (func $call {signature})"#);
        let call = format!("(call $call {})", [bad].repeat(arguments as usize).join(" "));
        let body =
            if signature.contains("result") { call } else { format!("(block (result i32) {call} (i32.const 0))") };
        let fault = run(&import, "", &body).map(|_| ()).unwrap_err();
        assert_eq!(fault.cause.label(), "malformed", "{name}: {fault}");
    }
}

#[test]
fn host_calls_work_in_configure_and_in_start() {
    let guest = Guest {
        imports: r#"(import "meshup" "attribute" (func $attribute (param i32 i32 i32) (result i32)))
            (import "meshup" "random" (func $random (param i32 i32)))"#,
        configure: "(if (i32.ne (call $attribute (i32.const 5) (i32.const 512) (i32.const 8)) (i32.const -4))
            (then unreachable)) (i64.const 0)",
        rest: "(func $start (call $random (i32.const 512) (i32.const 8))) (start $start)",
        ..Guest::default()
    };
    guest.filter(&runtime()).unwrap();
}

#[test]
fn clocks_go_on() {
    for name in ["now_unix", "now_monotonic"] {
        let import = format!(r#""{name}" (func $now (result i64))"#);
        let body = "(block (result i32) (i64.store (i32.const 512) (call $now)) (i64.store (i32.const 520) (call $now))
            (i64.le_u (i64.load (i32.const 512)) (i64.load (i32.const 520))))";
        assert_eq!(run(&import, "", body).unwrap().result, 1, "{name}");
    }
}
