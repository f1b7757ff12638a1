//! A value or a list of values, as in `methods = "GET"` and `methods = ["GET", "HEAD"]`.
//!
//! **Invariant:** there is at least one.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor, value::StrDeserializer},
};

/// At least one value, each written as a text.
#[derive(Debug)]
pub(crate) struct OneOrMore<T>(Vec<T>);

impl<T> Deref for OneOrMore<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> From<OneOrMore<T>> for Box<[T]> {
    fn from(values: OneOrMore<T>) -> Self {
        values.0.into()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Texts(PhantomData))
    }
}

struct Texts<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Texts<T> {
    type Value = OneOrMore<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMore<T>, E> {
        T::deserialize(StrDeserializer::new(text)).map(|value| OneOrMore(vec![value]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMore<T>, A::Error> {
        elements(list).map(OneOrMore)
    }
}

/// The elements of a list that may not be empty.
pub(crate) fn elements<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<T>, A::Error> {
    let mut values = Vec::new();
    while let Some(value) = list.next_element()? {
        values.push(value);
    }
    if values.is_empty() { Err(A::Error::custom("an empty list: it would never hold")) } else { Ok(values) }
}
