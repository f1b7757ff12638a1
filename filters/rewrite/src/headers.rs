//! Changes to the headers of a request or a response: `{ set = {..}, add = {..}, remove = [..] }`.
//!
//! Values are fixed texts; nothing of the exchange goes into them.
//!
//! **Invariant:** removed first, then set, then added, whatever the order in the file.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;

/// What becomes of the headers of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HeaderChanges {
    remove: Vec<HeaderName>,
    set: BTreeMap<HeaderName, HeaderValue>,
    add: BTreeMap<HeaderName, HeaderValue>,
}

impl HeaderChanges {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub(crate) fn apply(&self, headers: &mut HeadersMut<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.set(name, value);
        }
        for (name, value) in &self.add {
            headers.append(name, value);
        }
    }
}
