//! What is known of one request, asked of the host when a rule first wants it.
//!
//! **Invariant:** the same question has the same answer for every rule.

use std::{borrow::Cow, cell::OnceCell, net::IpAddr};

use meshup_sdk::prelude::*;

/// One request, as rules see it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) req: &'a Request,
    /// Decoded; empty when no rule reads it.
    pub(crate) path: Cow<'a, str>,
    client: OnceCell<Option<IpAddr>>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(req: &'a Request, path: Cow<'a, str>) -> Self {
        Self { req, path, client: OnceCell::new() }
    }

    pub(crate) fn client(&self) -> Option<IpAddr> {
        let parse = |text: &str| text.parse().ok();
        *self.client.get_or_init(|| exchange::with_attribute(Attribute::ClientAddress, parse).flatten())
    }
}
