//! What is asked of the client's certificate. Whether it is to be trusted, TLS has decided before.
//!
//! **Invariant:** without a verified certificate no condition holds but `peer = false`.

use std::fmt;

use meshup_sdk::prelude::*;
use serde::{
    Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{one_or_more::OneOrMore, path::is_below};

/// `true`, `false` or a table of what must hold.
#[derive(Debug)]
pub(crate) enum Peer {
    Present(bool),
    Identity(Identity),
}

/// Everything that is given must hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawIdentity")]
pub(crate) struct Identity(RawIdentity);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    subject: Option<OneOrMore<String>>,
    spiffe: Option<OneOrMore<SpiffeId>>,
    spiffe_prefix: Option<OneOrMore<SpiffeId>>,
    san: Option<OneOrMore<San>>,
}

impl TryFrom<RawIdentity> for Identity {
    type Error = &'static str;

    fn try_from(raw: RawIdentity) -> Result<Self, Self::Error> {
        match raw {
            RawIdentity { subject: None, spiffe: None, spiffe_prefix: None, san: None } => {
                Err("expected subject, spiffe, spiffe_prefix or san; `peer = true` is any verified certificate")
            }
            raw => Ok(Self(raw)),
        }
    }
}

impl Peer {
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::Present(wanted) => is_present() == *wanted,
            Self::Identity(identity) => identity.0.holds(),
        }
    }
}

/// A certificate has a subject or a name, and perhaps but one of them.
fn is_present() -> bool {
    [Attribute::PeerSubject, Attribute::PeerSans, Attribute::PeerSpiffe]
        .into_iter()
        .any(|attribute| exchange::with_attribute(attribute, |_| ()).is_some())
}

impl RawIdentity {
    fn holds(&self) -> bool {
        one_is(&self.subject, Attribute::PeerSubject, |subject, wanted| subject == wanted)
            && one_is(&self.spiffe, Attribute::PeerSpiffe, |id, wanted| id == wanted.0)
            && one_is(&self.spiffe_prefix, Attribute::PeerSpiffe, |id, prefix| is_below(id, &prefix.0))
            && one_is(&self.san, Attribute::PeerSans, |sans, wanted| sans.split(',').any(|san| san == wanted.0))
    }
}

/// Whether the exchange has the attribute and it is as one of the wanted, where there are any.
fn one_is<T>(wanted: &Option<OneOrMore<T>>, attribute: Attribute, is: impl Fn(&str, &T) -> bool) -> bool {
    let Some(wanted) = wanted else { return true };
    exchange::with_attribute(attribute, |value| wanted.iter().any(|wanted| is(value, wanted))).unwrap_or(false)
}

/// `spiffe://trust-domain/path`, without the slash at its end.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct SpiffeId(String);

impl TryFrom<String> for SpiffeId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let id = text.strip_suffix('/').unwrap_or(&text);
        let domain = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
        match domain {
            Some(domain) if !domain.is_empty() => Ok(Self(id.to_owned())),
            _ => Err(format!("invalid SPIFFE id {text:?}: expected \"spiffe://trust-domain/path\"")),
        }
    }
}

/// One subject alternative name with its kind, as in the attribute.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct San(String);

impl TryFrom<String> for San {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("DNS" | "URI" | "IP" | "EMAIL", name)) if !name.is_empty() && !name.contains(',') => Ok(Self(text)),
            _ => Err(format!(
                "invalid name {text:?}: expected \"DNS:a.example\", \"URI:...\", \"IP:...\" or \"EMAIL:...\""
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Peer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table")
    }

    fn visit_bool<E: Error>(self, present: bool) -> Result<Peer, E> {
        Ok(Peer::Present(present))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Peer, A::Error> {
        Identity::deserialize(MapAccessDeserializer::new(table)).map(Peer::Identity)
    }
}
