//! Which requests get a fault: those with the right headers, and of them a share.
//!
//! **Invariant:** chance is asked only about requests that the headers let through.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;
use serde::Deserializer;

/// Any value of a header will do.
const ANY: &str = "*";

/// A share of the requests.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) percent: Percent,
    pub(crate) headers: BTreeMap<HeaderName, String>,
}

impl Share {
    /// Whether this request is one of them.
    pub(crate) fn includes(&self, req: &Request) -> bool {
        self.headers.iter().all(|(name, value)| has(req, name, value)) && self.percent.happens()
    }
}

fn has(req: &Request, name: &str, value: &str) -> bool {
    match value {
        ANY => req.headers().contains(name),
        _ => req.headers().get_all(name).any(|found| found == value.as_bytes()),
    }
}

/// A part of a hundred.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Percent(f64);

impl Percent {
    fn happens(self) -> bool {
        self.0 >= 100.0 || (self.0 > 0.0 && random::f64() * 100.0 < self.0)
    }
}

impl Default for Percent {
    fn default() -> Self {
        Self(100.0)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        if (0.0..=100.0).contains(&percent) {
            Ok(Self(percent))
        } else {
            Err(serde::de::Error::custom("expected a number from 0 to 100"))
        }
    }
}
