//! YAML as JSON values: block and flow style, without anchors and tags, which the examples do not use.

use std::iter::Peekable;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// The documents of a text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let events = Parser::new_from_str(text).map(|event| event.unwrap_or_else(|fault| panic!("{fault}")).0);
    let mut events = events.peekable();
    let mut documents = Vec::new();
    while let Some(event) = events.next() {
        if let Event::DocumentStart(_) = event {
            documents.push(value(&mut events));
        }
    }
    documents
}

fn value<'a>(events: &mut Peekable<impl Iterator<Item = Event<'a>>>) -> Value {
    match events.next() {
        Some(Event::Scalar(text, style, 0, None)) => scalar(&text, style),
        Some(Event::SequenceStart(0, None)) => {
            let mut items = Vec::new();
            while events.next_if(|event| *event == Event::SequenceEnd).is_none() {
                items.push(value(events));
            }
            Value::Array(items)
        }
        Some(Event::MappingStart(0, None)) => {
            let mut entries = Map::new();
            while events.next_if(|event| *event == Event::MappingEnd).is_none() {
                let key = value(events);
                let key = key.as_str().unwrap_or_else(|| panic!("a key that is no text: {key}")).to_owned();
                let earlier = entries.insert(key.clone(), value(events));
                assert_eq!(earlier, None, "`{key}` is there twice");
            }
            Value::Object(entries)
        }
        event => panic!("unexpected: {event:?}"),
    }
}

/// The core schema, as far as numbers are whole.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        _ if style != ScalarStyle::Plain => text.into(),
        "true" => true.into(),
        "false" => false.into(),
        "" | "~" | "null" => Value::Null,
        _ => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    }
}
