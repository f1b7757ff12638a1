//! What is asked of a header or a variable: to be there, not to be there, or to have one of some values.
//!
//! **Invariant:** several values of one name never let a request pass that one of them alone would not.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::{decision::Action, one_or_more::elements};

/// `true`, `false`, a text or a list of texts.
#[derive(Debug)]
pub(crate) enum Expected {
    Present(bool),
    OneOf(Vec<String>),
}

impl Expected {
    /// Whether the values of one name are as expected. Where there are several, who reads them next may take any: a rule
    /// that allows wants all of them to be right, one that denies is content with one.
    pub(crate) fn holds<'a>(&self, action: Action, values: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut values = values.peekable();
        match (self, action) {
            (Self::Present(wanted), _) => values.peek().is_some() == *wanted,
            (Self::OneOf(texts), Action::Allow) => values.peek().is_some() && values.all(|value| is_in(texts, value)),
            (Self::OneOf(texts), Action::Deny) => values.any(|value| is_in(texts, value)),
        }
    }
}

fn is_in(texts: &[String], value: &[u8]) -> bool {
    texts.iter().any(|text| text.as_bytes() == value)
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
        f.write_str("true, false, a text or a list of texts")
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
}
