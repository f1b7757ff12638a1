//! What the host knows about the exchange apart from its messages, and the variables filters leave for each other.
//!
//! **Invariant:** asking costs one host call; nothing is fetched ahead.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn who(req: Request, next: Next) -> Response {
//!     let client = exchange::client_address().unwrap_or_default();
//!     exchange::set_variable("client", &client).ok();
//!     next.pass(req)
//! }
//!
//! let mut tester = testing::filter(who).attribute(Attribute::ClientAddress, "192.0.2.7");
//! tester.run(Request::get("/"), |_| Response::new(200));
//! assert_eq!(tester.variable("client").as_deref(), Some("192.0.2.7"));
//! ```

use std::time::Duration;

pub use meshup_abi::Attribute;

pub use crate::host::HostError;
use crate::{
    host::{self, checked, filled, with_filled},
    text::as_text,
};

/// An attribute of the exchange as text; `None` when the exchange does not have it.
#[must_use]
pub fn attribute(attribute: Attribute) -> Option<String> {
    String::from_utf8(filled(|out| host::attribute(attribute, out))?).ok()
}

/// Reads an attribute without a copy of its own; `None` when the exchange does not have it.
pub fn with_attribute<T>(attribute: Attribute, read: impl FnOnce(&str) -> T) -> Option<T> {
    with_filled(|out| host::attribute(attribute, out), |value| as_text(value).map(read)).flatten()
}

/// The client's IP address.
#[must_use]
pub fn client_address() -> Option<String> {
    attribute(Attribute::ClientAddress)
}

/// The listener's name.
#[must_use]
pub fn listener() -> Option<String> {
    attribute(Attribute::Listener)
}

/// The route's name.
#[must_use]
pub fn route() -> Option<String> {
    attribute(Attribute::Route)
}

/// The path prefix that the route asks for, without the slash at its end but for `/` alone; `None` when it asks for
/// none.
#[must_use]
pub fn route_prefix() -> Option<String> {
    attribute(Attribute::RoutePrefix)
}

/// The upstream's name, once one is chosen.
#[must_use]
pub fn upstream() -> Option<String> {
    attribute(Attribute::Upstream)
}

/// The endpoint last used, `address:port`.
#[must_use]
pub fn endpoint() -> Option<String> {
    attribute(Attribute::Endpoint)
}

/// The request id: the client's `x-request-id` where it is valid, else one the host made.
#[must_use]
pub fn request_id() -> Option<String> {
    attribute(Attribute::RequestId)
}

/// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
#[must_use]
pub fn protocol() -> Option<String> {
    attribute(Attribute::Protocol)
}

/// The subject of the client's certificate, when there is a verified one.
#[must_use]
pub fn peer_subject() -> Option<String> {
    attribute(Attribute::PeerSubject)
}

/// The SPIFFE id of the client's certificate, when there is a verified one.
#[must_use]
pub fn peer_spiffe() -> Option<String> {
    attribute(Attribute::PeerSpiffe)
}

/// The subject alternative names of the client's certificate, when there is a verified one: comma separated, each
/// `DNS:...`, `URI:...`, `IP:...` or `email:...`. No name has a comma: that is written `%2C`.
#[must_use]
pub fn peer_sans() -> Option<String> {
    attribute(Attribute::PeerSans)
}

/// When the request's head arrived, since the Unix epoch.
#[must_use]
pub fn start_time() -> Option<Duration> {
    let mut nanos = [0; 8];
    let len = host::attribute(Attribute::StartTime, &mut nanos);
    (len == 8).then(|| Duration::from_nanos(u64::from_le_bytes(nanos)))
}

/// A variable that this filter or one before it left.
#[must_use]
pub fn variable(name: &str) -> Option<Vec<u8>> {
    filled(|out| host::variable(name, out))
}

/// Leaves a variable for later filters and for the access log.
///
/// # Errors
/// [`HostError`] when the name is not allowed or the exchange's quota is used up.
pub fn set_variable(name: &str, value: impl AsRef<[u8]>) -> Result<(), HostError> {
    checked(host::set_variable(name, value.as_ref())).map(drop)
}
