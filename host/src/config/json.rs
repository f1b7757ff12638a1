//! A filter's `config` table as JSON, the notation in which filters read it.
//!
//! **Invariant:** the same table gives the same text, whatever the order of its keys.

use serde_json::{Map, Number, Value as Json};
use toml::de::{DeFloat, DeInteger, DeValue};

use super::{
    diagnostic::quoted,
    raw::{Fault, Value},
};

/// The value as compact JSON. What JSON cannot say is reported where it stands.
pub(super) fn compact(value: &Value<'_>) -> String {
    json(value).to_string()
}

fn json(value: &Value<'_>) -> Json {
    match value.inner() {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(number) => value.read(|_| integer(number)).map_or(Json::Null, Json::from),
        DeValue::Float(number) => value.read(|_| float(number)).map_or(Json::Null, Json::from),
        DeValue::Boolean(value) => Json::from(*value),
        DeValue::Datetime(value) => Json::from(value.to_string()),
        DeValue::Array(_) => value.items("a list").iter().map(json).collect(),
        DeValue::Table(_) => Json::Object(table(value)),
    }
}

fn table(value: &Value<'_>) -> Map<String, Json> {
    let entries = value.open().map(|table| table.entries()).unwrap_or_default();
    entries.into_iter().map(|(key, value)| (key.name.to_owned(), json(&value))).collect()
}

fn integer(number: &DeInteger<'_>) -> Result<i64, Fault> {
    let out_of_range = |_| Fault::new(format!("{} does not fit in 64 bits", quoted(&number.to_string())));
    i64::from_str_radix(number.as_str(), number.radix()).map_err(out_of_range)
}

fn float(number: &DeFloat<'_>) -> Result<Number, Fault> {
    let parsed = number.as_str().parse().ok().and_then(Number::from_f64);
    let not_json =
        || Fault::new(format!("{} cannot be given to a filter", quoted(number.as_str()))).help("write a finite number");
    parsed.ok_or_else(not_json)
}
