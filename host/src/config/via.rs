//! `via` of a listener: what the proxy calls itself in `Via` fields (RFC 9110 section 7.6.3).
//!
//! **Invariant:** its fields are made once, here, and only referred to by exchanges.

use http::{HeaderValue, Version};

use super::raw::Fault;

/// The proxy's name among the hops of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    name: Box<str>,
    /// For messages received in HTTP/1.0, HTTP/1.1 and HTTP/2.
    fields: [HeaderValue; 3],
}

impl Via {
    /// A pseudonym, or a host with or without a port.
    pub(super) fn new(name: &str) -> Result<Self, Fault> {
        let may_stand = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/;<=>?@\\{}".contains(&byte);
        let field = |version: &str| HeaderValue::try_from(format!("{version} {name}")).ok();
        match (field("1.0"), field("1.1"), field("2")) {
            (Some(http10), Some(http11), Some(http2)) if !name.is_empty() && name.bytes().all(may_stand) => {
                Ok(Self { name: name.into(), fields: [http10, http11, http2] })
            }
            _ => Err(Fault::new(format!("`{name}` is no name for `Via`: letters, digits, `-`, `.`, `_`, a port"))),
        }
    }

    /// As configured.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value for a message that was received in this version.
    #[must_use]
    pub fn of(&self, version: Version) -> &HeaderValue {
        let [http10, http11, http2] = &self.fields;
        match version {
            Version::HTTP_10 => http10,
            Version::HTTP_2 => http2,
            _ => http11,
        }
    }
}
