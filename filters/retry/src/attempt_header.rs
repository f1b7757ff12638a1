//! The header that tells the upstream which try it sees.
//!
//! **Invariant:** its name is one that the host lets a filter set.

use meshup_sdk::prelude::*;

/// Headers that belong to the connection or frame the message: no filter may change them.
const HOST_OWNED: [&str; 12] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The name of the header, in lower case.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AttemptHeader(String);

impl AttemptHeader {
    /// Writes the number of the try, from 1.
    pub(crate) fn set(&self, attempt: u32, req: &mut Request) {
        req.headers_mut().set(&self.0, attempt.to_string());
    }
}

impl TryFrom<String> for AttemptHeader {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("invalid header name {name:?}"));
        }
        let name = name.to_ascii_lowercase();
        if HOST_OWNED.contains(&name.as_str()) {
            Err(format!("the header {name:?} belongs to the proxy"))
        } else {
            Ok(Self(name))
        }
    }
}
