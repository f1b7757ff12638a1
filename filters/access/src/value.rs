//! What is asked of a header or a variable: to be there, not to be there, to be one of some texts or to list one of them.
//!
//! **Invariant:** several values of one name never let a request pass that one of them alone would not.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use crate::{
    decision::Action,
    one_or_more::{OneOrMore, elements},
};

/// `true`, `false`, a text, a list of texts or `{ contains = ... }`.
#[derive(Debug)]
pub(crate) enum Expected {
    Present(bool),
    OneOf(Vec<String>),
    Contains(OneOrMore<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contains {
    contains: OneOrMore<String>,
}

impl Expected {
    /// Whether the values of one name are as expected. Where there are several, who reads them next may take any: a rule
    /// that allows wants all of them to be right, one that denies is content with one.
    pub(crate) fn holds<'a>(&self, action: Action, values: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut values = values.peekable();
        match (self, action) {
            (Self::Present(wanted), _) => values.peek().is_some() == *wanted,
            (_, Action::Allow) => values.peek().is_some() && values.all(|value| self.is(value)),
            (_, Action::Deny) => values.any(|value| self.is(value)),
        }
    }

    /// Whether one value is as expected.
    fn is(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(wanted) => *wanted,
            Self::OneOf(texts) => texts.iter().any(|text| text.as_bytes() == value),
            Self::Contains(texts) => lists_one(value, texts),
        }
    }
}

/// Whether a list has one of the texts: a JSON list, as `jwt` leaves them, or words between blanks and commas.
fn lists_one(value: &[u8], texts: &[String]) -> bool {
    let is_wanted = |word: &str| texts.iter().any(|text| text == word);
    if let Ok(Value::Array(items)) = serde_json::from_slice(value) {
        return items.iter().filter_map(Value::as_str).any(is_wanted);
    }
    let Ok(value) = str::from_utf8(value) else { return false };
    value.split([' ', '\t', ',']).any(is_wanted)
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Expected;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, a text, a list of texts or { contains = ... }")
    }

    fn visit_bool<E: Error>(self, present: bool) -> Result<Expected, E> {
        Ok(Expected::Present(present))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Expected, E> {
        Ok(Expected::OneOf(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Expected, A::Error> {
        elements(list).map(Expected::OneOf)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Expected, A::Error> {
        Contains::deserialize(MapAccessDeserializer::new(table)).map(|table| Expected::Contains(table.contains))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_open_no_door() {
        let one_of = Expected::OneOf(vec!["a".to_owned(), "b".to_owned()]);
        for (values, allows, denies) in [
            (&[][..], false, false),
            (&["a"][..], true, true),
            (&["a", "b"], true, true),
            (&["a", "c"], false, true),
            (&["c", "b"], false, true),
            (&["c"], false, false),
            (&["A"], false, false),
            (&["a,b"], false, false),
        ] {
            let holds = |action| one_of.holds(action, values.iter().map(|value| value.as_bytes()));
            assert_eq!((holds(Action::Allow), holds(Action::Deny)), (allows, denies), "{values:?}");
            for action in [Action::Allow, Action::Deny] {
                let values = || values.iter().map(|value| value.as_bytes());
                assert_eq!(Expected::Present(true).holds(action, values()), values().count() > 0);
                assert_eq!(Expected::Present(false).holds(action, values()), values().count() == 0);
            }
        }
    }

    #[test]
    fn lists_are_of_json_or_words() {
        for (value, expected) in [
            (r#"["reader","admin"]"#, true),
            (r#"[ "admin" ]"#, true),
            (r#"["admins"]"#, false),
            (r#"["a admin b"]"#, false),
            (r#"[["admin"],7]"#, false),
            (r#"{"admin":["admin"]}"#, false),
            (r#""admin""#, false),
            ("admin", true),
            ("reader admin", true),
            ("reader, admin", true),
            ("ADMIN", false),
            ("admin:read", false),
            ("", false),
            ("\u{e4}", false),
        ] {
            assert_eq!(lists_one(value.as_bytes(), &["admin".to_owned()]), expected, "{value}");
        }
        assert!(!lists_one(b"\xff", &["admin".to_owned()]));
    }
}
