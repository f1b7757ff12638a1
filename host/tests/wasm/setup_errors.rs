//! What a filter says before its setup traps is told with the trap: where nothing is logged it would be lost.

use crate::guest::{Guest, exchange, runtime};

/// Logs `told why` as an error.
const TELL: &str = "(call $log (i32.const 1) (i32.const 256) (i32.const 8))";

fn guest() -> Guest {
    Guest {
        imports: r#"(import "meshup" "log" (func $log (param i32 i32 i32)))"#,
        rest: r#"(data (i32.const 256) "told why")"#,
        ..Guest::default()
    }
}

#[test]
fn a_trap_of_a_setup_tells_the_error_before_it() {
    let configure = Box::leak(format!("{TELL} unreachable").into_boxed_str());
    let error = Guest { configure, ..guest() }.filter(&runtime()).unwrap_err().to_string();
    assert!(error.starts_with("filter \"test\": trapped: ") && error.ends_with(": told why"), "{error}");
    let error = Guest { configure: "unreachable", ..guest() }.filter(&runtime()).unwrap_err().to_string();
    assert!(!error.contains("told"), "{error}");
}

#[test]
fn a_trap_of_an_exchange_does_not_tell_of_the_setup() {
    let configure = Box::leak(format!("{TELL} (i64.const 0)").into_boxed_str());
    let worker_filter = Guest { configure, on_event: "unreachable", ..guest() }.worker_filter(&runtime());
    let fault = exchange(&worker_filter).unwrap_err().to_string();
    assert!(fault.contains("trapped") && !fault.contains("told"), "{fault}");
}
