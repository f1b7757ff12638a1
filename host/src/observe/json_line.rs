//! A log event as one JSON object on one line.
//!
//! The members are `timestamp`, `level` and the event's fields. What a filter logs as a JSON object is not put into a string
//! again: it stands under [`DATA`], for whoever reads the log to parse once.
//!
//! **Invariant:** every line is a JSON object, whatever the fields hold.

use std::fmt::{self, Debug, Display};

use serde::de::IgnoredAny;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// The field that holds a JSON object as its text; it is written as it is. Only what [`is_object`] may be logged so.
pub(crate) const DATA: &str = "data";

/// Whether the text is one JSON object on one line.
pub(crate) fn is_object(text: &str) -> bool {
    text.starts_with('{') && !text.contains(char::is_control) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Writes events so.
#[derive(Debug)]
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", event.metadata().level())?;
        let mut members = Members { writer, result: Ok(()) };
        event.record(&mut members);
        members.result?;
        members.writer.write_str("}\n")
    }
}

struct Members<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

impl Members<'_> {
    /// `value` is JSON.
    fn member(&mut self, field: &Field, value: impl Display) {
        self.result = self.result.and_then(|()| write!(self.writer, ",{}:{value}", Text(field.name())));
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == DATA { self.member(field, text) } else { self.member(field, Text(&text)) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, Text(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() { self.member(field, value) } else { self.member(field, Text(&value.to_string())) }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value);
    }
}

/// A text as a JSON string.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}
