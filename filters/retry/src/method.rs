//! Which methods may be tried again.
//!
//! **Invariant:** unless told otherwise, those that are idempotent by RFC 9110 section 9.2.2.

use std::fmt;

use meshup_sdk::prelude::*;
use serde::{
    Deserializer,
    de::{Error, SeqAccess, Visitor},
};

const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];

/// `["GET", "POST"]`, or `"*"`.
#[derive(Debug, Default)]
pub(crate) enum Methods {
    #[default]
    Idempotent,
    Listed(Vec<Method>),
    All,
}

impl Methods {
    pub(crate) fn contain(&self, method: &str) -> bool {
        match self {
            Self::Idempotent => IDEMPOTENT.contains(&method),
            Self::Listed(methods) => methods.iter().any(|listed| listed.0 == method),
            Self::All => true,
        }
    }
}

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MethodsVisitor)
    }
}

struct MethodsVisitor;

impl<'de> Visitor<'de> for MethodsVisitor {
    type Value = Methods;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a list of methods, or "*" for all"#)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Methods, E> {
        if text == "*" { Ok(Methods::All) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Methods, A::Error> {
        let mut methods = Vec::new();
        while let Some(method) = seq.next_element()? {
            methods.push(method);
        }
        Ok(Methods::Listed(methods))
    }
}

/// A method, such as `POST`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Method(String);

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(&byte));
        if valid { Ok(Self(text)) } else { Err(format!("invalid method {text:?}: methods are upper case")) }
    }
}
