//! The upstream, chosen by a header of the request.
//!
//! It does not know which upstreams there are: one that is not configured gives the host's 503 `no-upstream`.
//!
//! **Invariant:** without a match and without a default, the route's own choice stands.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;

/// `{ header = "x-canary", values = { "1" = "orders-next" }, default = "orders" }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamByHeader {
    header: HeaderName,
    values: BTreeMap<String, UpstreamName>,
    default: Option<UpstreamName>,
}

impl UpstreamByHeader {
    /// The upstream for a request with these headers; the first value of the header counts, as it is.
    pub(crate) fn choose(&self, headers: Headers<'_>) -> Option<&str> {
        let listed = headers.get(&self.header).and_then(|value| self.values.get(value));
        listed.or(self.default.as_ref()).map(|name| name.0.as_str())
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct UpstreamName(String);

impl TryFrom<String> for UpstreamName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() { Err("expected the name of an upstream") } else { Ok(Self(name)) }
    }
}
