//! Logs: to standard error, as text on a terminal and as JSON otherwise; `RUST_LOG` chooses what.
//!
//! **Invariant:** no value can look like another line or steer the terminal: JSON escapes control characters, and so does
//! the text, except that a message may have further lines, which are indented.

use std::{
    ffi::OsStr,
    fmt::{self, Debug, Write},
    io::{self, IsTerminal},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tracing::{Subscriber, field::Field};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    filter::LevelFilter,
    fmt::{
        MakeWriter,
        format::{self, Writer},
    },
};

use super::json_line::{DATA, JsonLine};

/// Before the second and further lines of a message.
const INDENT: &str = "\n    ";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Text where standard error is a terminal, JSON elsewhere.
    #[must_use]
    pub fn detect() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Lines that wait for standard error. Beyond them lines are dropped and counted: nobody waits for a log.
const MAX_WAITING_LINES: usize = 16 * 1024;

/// The thread that writes, and what it had to drop.
struct Logger {
    /// Dropping it writes what waits.
    thread: WorkerGuard,
    dropped: ErrorCounter,
}

static LOGGER: Mutex<Option<Logger>> = Mutex::new(None);

/// Lines that standard error did not take.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Counts lines that cannot be written: the thread that writes tells nobody.
struct Counting<W>(W);

impl<W: io::Write> io::Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line).inspect_err(|_| _ = REFUSED.fetch_add(1, Relaxed))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Starts logging, once per process; a second call changes nothing. Without `RUST_LOG` the level is `info`. Lines are
/// written by a thread of their own.
pub fn init(format: LogFormat) {
    let mut logger = LOGGER.lock().unwrap_or_else(PoisonError::into_inner);
    if logger.is_some() {
        return;
    }
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let (writer, thread) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_WAITING_LINES)
        .thread_name("meshup-log")
        .finish(Counting(io::stderr()));
    let dropped = writer.error_counter();
    if tracing::subscriber::set_global_default(subscriber(format, filter, writer)).is_ok() {
        *logger = Some(Logger { thread, dropped });
    }
}

/// Log lines lost so far: because nobody took them, or because they could not be written.
pub(crate) fn lines_dropped() -> u64 {
    let logger = LOGGER.lock().unwrap_or_else(PoisonError::into_inner);
    logger.as_ref().map_or(0, |logger| logger.dropped.dropped_lines() as u64) + REFUSED.load(Relaxed)
}

/// Writes what waits, if somebody takes it: for the end of the process.
pub(crate) fn finish() {
    let logger = LOGGER.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(logger.map(|logger| logger.thread));
}

fn subscriber<W>(format: LogFormat, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // An error of the writer would be told with `eprintln!`, which panics when nobody reads standard error any more.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let fields = format::debug_fn(write_field).delimited(" ");
            let coloured = coloured(io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
            Box::new(builder.with_ansi(coloured).fmt_fields(fields).finish())
        }
        LogFormat::Json => Box::new(builder.event_format(JsonLine).finish()),
    }
}

/// Any value of `NO_COLOR` but an empty one means none (no-color.org).
fn coloured(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() == "message" || field.name() == DATA {
        return write!(Printable { writer, newline: INDENT }, "{value:?}");
    }
    write!(writer, "{}=", field.name())?;
    write!(Printable { writer, newline: "\\n" }, "{value:?}")
}

/// Escapes control characters on their way to the writer.
struct Printable<'a, 'b> {
    writer: &'a mut Writer<'b>,
    newline: &'static str,
}

impl Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char {
            '\n' => self.writer.write_str(self.newline),
            char if char.is_control() => write!(self.writer, "{}", char.escape_default()),
            char => self.writer.write_char(char),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged in `format`, without the time.
    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = subscriber(format, EnvFilter::new("info"), move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = output.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const HOSTILE: &str = "a\x1b[31m\u{9b}\r\n2026-01-01T00:00:00Z ERROR forged";

    #[test]
    fn a_text_value_cannot_forge_a_line_or_steer_the_terminal() {
        let text = logged(LogFormat::Text, || tracing::info!(path = %HOSTILE, quoted = HOSTILE, "seen"));
        let (_, line) = text.split_once(" INFO ").unwrap();
        let path = "a\\u{1b}[31m\\u{9b}\\r\\n2026-01-01T00:00:00Z ERROR forged";
        assert_eq!(line, format!("seen path={path} quoted=\"{path}\"\n"));
    }

    #[test]
    fn further_lines_of_a_text_message_are_indented() {
        let text = logged(LogFormat::Text, || tracing::info!("refused:\n{HOSTILE}"));
        let lines: Vec<_> = text.lines().collect();
        let [first, second, third] = &lines[..] else { panic!("{text:?}") };
        assert!(first.ends_with(" INFO refused:"), "{first:?}");
        assert_eq!(*second, "    a\\u{1b}[31m\\u{9b}\\r");
        assert_eq!(*third, "    2026-01-01T00:00:00Z ERROR forged");
    }

    #[test]
    fn a_json_line_is_one_line_and_brings_values_back() {
        let text = logged(LogFormat::Json, || tracing::info!(path = %HOSTILE, "{HOSTILE}"));
        assert_eq!((text.matches('\n').count(), text.contains('\x1b')), (1, false), "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["path"], &line["message"]), (&HOSTILE.into(), &HOSTILE.into()));
    }

    #[test]
    fn colours_are_for_terminals_whose_user_wants_them() {
        assert!(coloured(true, None) && coloured(true, Some("".as_ref())));
        assert!(!coloured(true, Some("1".as_ref())) && !coloured(false, None));
    }

    #[test]
    fn an_object_is_not_put_into_a_string() {
        let object = "{\"status\":200,\"path\":\"/\\u001b\"}";
        let log = || tracing::info!(data = %object, filter = "telemetry", suppressed = Some(3_u64), lost = None::<u64>);
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, log)).unwrap();
        assert_eq!((&line["data"]["status"], &line["data"]["path"]), (&200.into(), &"/\u{1b}".into()));
        assert_eq!((&line["level"], &line["suppressed"], line.get("lost")), (&"INFO".into(), &3.into(), None));
        let text = logged(LogFormat::Text, log);
        assert!(text.ends_with(&format!(" INFO {object} filter=\"telemetry\" suppressed=3\n")), "{text}");
    }

    #[test]
    fn the_level_is_respected() {
        assert_eq!(logged(LogFormat::Json, || tracing::debug!("unseen")), "");
    }
}
