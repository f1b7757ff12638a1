//! What stands in the log: lines of filters and faults, each with the filter's name, and neither without end.

use std::{
    io,
    sync::{Arc, Mutex},
};

use crate::guest::{Guest, exchange, runtime};

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines logged while `run` runs.
fn logged(run: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).without_time().finish();
    tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Warns of `hello`, a line break and `you`.
fn talkative() -> Guest {
    Guest {
        imports: r#"(import "meshup" "log" (func $log (param i32 i32 i32)))"#,
        on_event: "(call $log (i32.const 2) (i32.const 256) (i32.const 9)) (i64.const 0x1000000004)",
        rest: r#"(data (i32.const 256) "hello\nyou")"#,
        ..Guest::default()
    }
}

#[test]
fn a_line_names_its_filter_and_stays_one_line() {
    let lines = logged(|| _ = exchange(&talkative().worker_filter(&runtime())).unwrap());
    assert_eq!(lines, [r#" WARN meshup::filter: hello\nyou filter="test""#]);
}

#[test]
fn case_57_a_filter_logs_so_many_lines_a_second() {
    let lines = logged(|| {
        let worker_filter = talkative().worker_filter(&runtime());
        (0..150).for_each(|_| _ = exchange(&worker_filter).unwrap());
    });
    // A second may have gone by meanwhile; then the rest comes, with the number held back.
    assert!(lines.len() == 100 || lines.iter().any(|line| line.contains("suppressed=")), "{} lines", lines.len());
}

#[test]
fn faults_are_logged_once_a_second() {
    let lines = logged(|| {
        let worker_filter = Guest::on_event("unreachable").worker_filter(&runtime());
        (0..50).for_each(|_| _ = exchange(&worker_filter).unwrap_err());
        let faults: u64 = worker_filter.filter().statistics().faults.iter().map(|(_, n)| n).sum();
        assert_eq!(faults, 50);
    });
    assert!(lines[0].starts_with(r#"ERROR meshup::wasm::filter: filter "test": trapped: wasm trap"#), "{}", lines[0]);
    assert!(lines.len() < 10);
}
