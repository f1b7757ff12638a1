//! Changes to the headers of a request or a response: `{ set = {..}, add = {..}, remove = [..] }`.
//!
//! Values are fixed texts; nothing of the exchange goes into them.
//!
//! **Invariant:** removed first, then set, then added, whatever the order in the file.

use std::collections::BTreeMap;

use meshup_sdk::{headers::PreparedHeaders, prelude::*};

/// What becomes of the headers of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "RawChanges")]
pub(crate) struct HeaderChanges(PreparedHeaders);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawChanges {
    remove: Vec<HeaderName>,
    set: BTreeMap<HeaderName, HeaderValue>,
    add: BTreeMap<HeaderName, HeaderValue>,
}

impl From<RawChanges> for HeaderChanges {
    fn from(raw: RawChanges) -> Self {
        let changes = raw.remove.iter().fold(PreparedHeaders::default(), PreparedHeaders::remove);
        let changes = raw.set.iter().fold(changes, |changes, (name, value)| changes.set(name, value));
        Self(raw.add.iter().fold(changes, |changes, (name, value)| changes.append(name, value)))
    }
}

impl HeaderChanges {
    pub(crate) fn apply(&self, headers: &mut HeadersMut<'_>) {
        headers.apply(&self.0);
    }
}
