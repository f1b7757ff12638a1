//! The access log: one line for each exchange, written when it is over.
//!
//! It keeps no files: a line goes to the proxy's log, at level info.
//!
//! **Invariant:** a line of the format json is one JSON object, and every line is one line.

use std::fmt::Write;

use meshup_sdk::prelude::*;

use crate::{
    field::{self, Field, Value},
    line::{push_common, push_json},
    trace_context::TraceContext,
};

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// An object with the fields as its members.
    #[default]
    Json,
    /// `client - - [time] "request line" status bytes`
    Common,
    /// The same with referer and user agent.
    Combined,
}

/// The access log of a configuration.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: Format,
    fields: Vec<Field>,
}

/// The line of one exchange, as far as the request tells it.
#[derive(Debug)]
pub(crate) struct Entry {
    log: &'static AccessLog,
    /// One for each field.
    values: Vec<Option<Value>>,
}

/// What the formats common and combined are made of, in the order in which [`common`] takes them.
const COMMON: [Field; 7] =
    [Field::Client, Field::Method, Field::Path, Field::Query, Field::Protocol, Field::Status, Field::ResponseBytes];

impl AccessLog {
    /// `fields` are for the format json alone.
    pub(crate) fn new(format: Format, fields: Option<Vec<Field>>) -> Result<Self, String> {
        let fields = match (format, fields) {
            (Format::Json, None) => field::DEFAULT.to_vec(),
            (Format::Json, Some(fields)) if fields.is_empty() => return Err("fields: empty".to_owned()),
            (Format::Json, Some(fields)) => fields,
            (_, Some(_)) => return Err("fields: only the format \"json\" has a choice of fields".to_owned()),
            (Format::Common, None) => COMMON.to_vec(),
            (Format::Combined, None) => [&COMMON[..], &[Field::Referer, Field::UserAgent]].concat(),
        };
        match fields.iter().enumerate().find(|(index, field)| fields[..*index].contains(field)) {
            Some((_, twice)) => Err(format!("fields: {twice} stands there twice")),
            None => Ok(Self { format, fields }),
        }
    }

    /// An exchange begins.
    pub(crate) fn begin(&'static self, req: &Request) -> Entry {
        Entry { log: self, values: self.fields.iter().map(|field| field.of_request(req)).collect() }
    }
}

impl Entry {
    /// The whole line.
    pub(crate) fn line(self, trace: Option<TraceContext>, summary: &Summary) -> String {
        let fields = self.log.fields.iter().zip(self.values);
        let values = fields.map(|(field, value)| (field, value.unwrap_or_else(|| field.at_end(trace, summary))));
        match self.log.format {
            Format::Json => json(values),
            Format::Common | Format::Combined => common(&values.map(|(_, value)| value).collect::<Vec<_>>()),
        }
    }
}

fn json<'a>(values: impl Iterator<Item = (&'a Field, Value)>) -> String {
    let mut line = String::with_capacity(512);
    for (field, value) in values {
        line.push(if line.is_empty() { '{' } else { ',' });
        push_json(&mut line, &field.to_string());
        line.push(':');
        push_member(&mut line, &value);
    }
    line.push('}');
    line
}

fn push_member(line: &mut String, value: &Value) {
    // Writing to a String does not fail.
    match value {
        Value::Absent => line.push_str("null"),
        Value::Number(number) => _ = write!(line, "{number}"),
        Value::Duration(duration) => _ = write!(line, "{}.{:06}", duration.as_secs(), duration.subsec_micros()),
        Value::Text(text) => push_json(line, text),
    }
}

/// `values` are those of [`COMMON`], and perhaps those of the format combined.
fn common(values: &[Value]) -> String {
    let [client, method, path, query, protocol, status, bytes, more @ ..] = values else { return String::new() };
    let mut line = String::with_capacity(256);
    push_word(&mut line, client);
    // Writing to a String does not fail.
    _ = write!(line, " - - [{}] \"", field::started().common());
    push_word(&mut line, method);
    line.push(' ');
    push_word(&mut line, path);
    if let Value::Text(query) = query {
        line.push('?');
        push_common(&mut line, query);
    }
    line.push(' ');
    push_word(&mut line, protocol);
    line.push_str("\" ");
    push_word(&mut line, status);
    line.push(' ');
    push_word(&mut line, bytes);
    for value in more {
        line.push_str(" \"");
        push_word(&mut line, value);
        line.push('"');
    }
    line
}

fn push_word(line: &mut String, value: &Value) {
    match value {
        Value::Text(text) => push_common(line, text),
        // Writing to a String does not fail.
        Value::Number(number) => _ = write!(line, "{number}"),
        Value::Absent | Value::Duration(_) => line.push('-'),
    }
}
