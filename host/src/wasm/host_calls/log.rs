//! Log lines of filters.
//!
//! **Invariant:** a guest's line stays one line and says which filter wrote it.

use std::{borrow::Cow, fmt::Write, time::Instant};

use meshup_abi::Level;
use wasmtime::Caller;

use super::{Guest, Region, Result, guest};
use crate::observe;

/// Longer lines are cut.
const MAX_LINE_BYTES: usize = 8 << 10;

pub(super) fn log(mut caller: Caller<'_, Guest>, level: u32, text: u32, len: u32) -> Result<()> {
    let (memory, guest) = guest(&mut caller)?;
    let text = Region::new(text, len).of(memory)?;
    let level = Level::try_from(level).unwrap_or(Level::Info);
    if let Some(error) = guest.setup_error.as_mut().filter(|_| level == Level::Error) {
        *error = line(text).into_owned();
    }
    if !is_enabled(level) {
        return Ok(());
    }
    let environment = &guest.environment;
    if let Some(suppressed) = environment.log.admit(Instant::now()) {
        let (line, suppressed) = (line(text), Some(suppressed).filter(|suppressed| *suppressed > 0));
        if observe::is_object(&line) {
            emit_object(level, &environment.filter, &line, suppressed);
        } else {
            emit(level, &environment.filter, &line, suppressed);
        }
    }
    Ok(())
}

fn is_enabled(level: Level) -> bool {
    use tracing::enabled;
    match level {
        Level::Error => enabled!(target: "meshup::filter", tracing::Level::ERROR),
        Level::Warn => enabled!(target: "meshup::filter", tracing::Level::WARN),
        Level::Info => enabled!(target: "meshup::filter", tracing::Level::INFO),
        Level::Debug => enabled!(target: "meshup::filter", tracing::Level::DEBUG),
        Level::Trace => enabled!(target: "meshup::filter", tracing::Level::TRACE),
    }
}

fn emit(level: Level, filter: &str, line: &str, suppressed: Option<u64>) {
    match level {
        Level::Error => tracing::error!(target: "meshup::filter", filter, suppressed, "{line}"),
        Level::Warn => tracing::warn!(target: "meshup::filter", filter, suppressed, "{line}"),
        Level::Info => tracing::info!(target: "meshup::filter", filter, suppressed, "{line}"),
        Level::Debug => tracing::debug!(target: "meshup::filter", filter, suppressed, "{line}"),
        Level::Trace => tracing::trace!(target: "meshup::filter", filter, suppressed, "{line}"),
    }
}

/// An object keeps its members, for whoever reads the log as JSON.
fn emit_object(level: Level, filter: &str, data: &str, suppressed: Option<u64>) {
    match level {
        Level::Error => tracing::error!(target: "meshup::filter", data = %data, filter, suppressed),
        Level::Warn => tracing::warn!(target: "meshup::filter", data = %data, filter, suppressed),
        Level::Info => tracing::info!(target: "meshup::filter", data = %data, filter, suppressed),
        Level::Debug => tracing::debug!(target: "meshup::filter", data = %data, filter, suppressed),
        Level::Trace => tracing::trace!(target: "meshup::filter", data = %data, filter, suppressed),
    }
}

/// The text without what could end the line or steer a terminal, and not too long.
fn line(text: &[u8]) -> Cow<'_, str> {
    let (text, cut) = match text.get(..MAX_LINE_BYTES) {
        Some(start) if text.len() > MAX_LINE_BYTES => (start, true),
        _ => (text, false),
    };
    let text = String::from_utf8_lossy(text);
    if cut || text.contains(char::is_control) { Cow::Owned(escaped(&text, cut)) } else { text }
}

fn escaped(text: &str, cut: bool) -> String {
    let mut line = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if char.is_control() {
            // Writing to a String does not fail.
            _ = write!(line, "{}", char.escape_default());
        } else {
            line.push(char);
        }
    }
    if cut {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        assert_eq!(line(b"plain \xc3\xa9"), "plain é");
        assert_eq!(line(b"a\nb\x1b[31m\r\0"), "a\\nb\\u{1b}[31m\\r\\u{0}");
        assert_eq!(line(b"\xff"), "\u{fffd}");
        assert_eq!(line(&[b'x'; MAX_LINE_BYTES]).len(), MAX_LINE_BYTES);
        assert_eq!(line(&[b'x'; MAX_LINE_BYTES + 1]).len(), MAX_LINE_BYTES + 3);
    }
}
