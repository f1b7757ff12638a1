//! A filter's configuration, from JSON into its own type; what is refused is named by its path.
//!
//! The reader is the SDK's own and not that of `serde_json`: it knows at which key it is, and it brings no code that
//! prints floating point numbers, which would be a sixth of a small filter and is compiled at every start.
//!
//! **Invariant:** an error has the path of the innermost value that it is about.

use std::{fmt, slice};

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{BorrowedStrDeserializer, MapAccessDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Value, map};

/// Reads the configuration, or says why it is refused: `keys[1].alg: unknown variant ...`.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    T::deserialize(&Reader(&value)).map_err(|error| error.to_string())
}

/// Why a value is refused. The path is empty at the root.
#[derive(Debug)]
struct Refused {
    path: String,
    reason: String,
}

impl Refused {
    /// The same, seen from the value that holds it under `key`.
    fn under(mut self, key: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = [key, joint, &self.path].concat();
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joint = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{joint}{}", self.path, self.reason)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self { path: String::new(), reason: reason.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("invalid type: {}, expected {expected}", described(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("invalid value: {}, expected {expected}", described(found)))
    }
}

/// As `Unexpected` has it, but for floating point numbers, which are not shown.
fn described(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("boolean `{value}`"),
        Unexpected::Unsigned(number) => format!("integer `{number}`"),
        Unexpected::Signed(number) => format!("integer `{number}`"),
        Unexpected::Float(_) => "floating point number".to_owned(),
        Unexpected::Str(text) => format!("string {text:?}"),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Seq => "list".to_owned(),
        Unexpected::Map => "table".to_owned(),
        _ => "another kind of value".to_owned(),
    }
}

/// One value.
struct Reader<'de>(&'de Value);

impl<'de> Deserializer<'de> for &Reader<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), next: 0 }),
            Value::Object(entries) => visitor.visit_map(Entries { entries: entries.iter(), last: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    /// A text is a variant without content, a table one with.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self.0 {
            Value::String(text) => BorrowedStrDeserializer::new(text).deserialize_enum(name, variants, visitor),
            Value::Object(entries) => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries { entries: entries.iter(), last: None }))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'de> {
    items: slice::Iter<'de, Value>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(&Reader(item)).map(Some).map_err(|error| error.under(&format!("[{index}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de> {
    entries: map::Iter<'de>,
    last: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.last = Some((key, value));
        seed.deserialize(Key(key)).map(Some).map_err(|error| error.under(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refused> {
        let Some((key, value)) = self.last.take() else { return Err(de::Error::custom("a value without a key")) };
        seed.deserialize(&Reader(value)).map_err(|error| error.under(key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// The key of an entry: a text that may stand for a number.
struct Key<'de>(&'de str);

macro_rules! number_keys {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            match (self.0.parse(), self.0.parse()) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_borrowed_str(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        BorrowedStrDeserializer::new(self.0).deserialize_enum(name, variants, visitor)
    }

    number_keys! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 }
    number_keys! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        attempts: u32,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        names: Vec<Name>,
        #[serde(default)]
        modes: BTreeMap<u16, Mode>,
        limit: Option<i8>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Name(String);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Off,
        Fixed(u8),
        Between { low: u8, high: u8 },
        Pair(u8, u8),
    }

    fn parsed(json: &Value) -> Result<Config, String> {
        read(json.to_string().as_bytes())
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let json = json!({
            "attempts": 3,
            "share": 0.5,
            "names": ["a", "b\n"],
            "modes": { "1": "off", "2": { "fixed": 7 }, "3": { "between": { "low": 1, "high": 2 } }, "4": { "pair": [1, 2] } },
            "limit": -1,
        });
        let modes = [Mode::Off, Mode::Fixed(7), Mode::Between { low: 1, high: 2 }, Mode::Pair(1, 2)];
        let expected = Config {
            attempts: 3,
            share: 0.5,
            names: vec![Name("a".to_owned()), Name("b\n".to_owned())],
            modes: (1..).zip(modes).collect(),
            limit: Some(-1),
        };
        assert_eq!(parsed(&json), Ok(expected));
        assert_eq!(parsed(&json!({ "attempts": 1, "share": 1, "limit": null })).unwrap().limit, None);
    }

    #[test]
    fn what_is_refused_is_named_by_its_path() {
        for (json, expected) in [
            (json!([]), "invalid length 0, expected struct Config with 5 elements"),
            (json!({}), "missing field `attempts`"),
            (json!({ "attempts": "3" }), "attempts: invalid type: string \"3\", expected u32"),
            (json!({ "attempts": 1.5 }), "attempts: invalid type: floating point number, expected u32"),
            (json!({ "attempts": -1 }), "attempts: invalid value: integer `-1`, expected u32"),
            (json!({ "attempts": null }), "attempts: invalid type: null, expected u32"),
            (json!({ "attempts": 1, "names": ["a", 2] }), "names[1]: invalid type: integer `2`, expected a string"),
            (json!({ "attempts": 1, "names": {} }), "names: invalid type: table, expected a sequence"),
            (json!({ "attempts": 1, "modes": { "x": "off" } }), "modes.x: invalid type: string \"x\", expected u16"),
            (json!({ "attempts": 1, "modes": { "1": "on" } }), "modes.1: unknown variant `on`, expected one of"),
            (
                json!({ "attempts": 1, "modes": { "1": { "between": { "low": 1, "high": true } } } }),
                "modes.1.between.high: invalid type: boolean `true`, expected u8",
            ),
            (json!({ "attempts": 1, "attempt": 2 }), "attempt: unknown field `attempt`"),
        ] {
            let refused = parsed(&json).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
        assert!(read::<Config>(b"{").unwrap_err().starts_with("EOF while parsing"));
    }
}
