//! A fetched set of keys, and its form in the shared state.
//!
//! **Invariant:** a set has a key, and no secret: what a URL publishes is public.

use meshup_sdk::prelude::*;

use crate::{jwk, key::Key};

/// Bytes before the document in the shared state: when it was fetched.
const STAMP_BYTES: usize = 8;

/// A fetched set.
#[derive(Debug)]
pub(crate) struct KeySet {
    pub(crate) keys: Vec<Key>,
    /// When it was fetched, by the monotonic clock, which all workers share.
    pub(crate) fetched: Duration,
    /// The set without what these tokens do not need.
    document: Vec<u8>,
    /// Of the document: equal sets verify the same tokens.
    pub(crate) digest: [u8; 32],
}

impl KeySet {
    /// The set in a response.
    pub(crate) fn read(body: &[u8], fetched: Duration) -> Result<Self, String> {
        Self::new(jwk::reduced(body)?, fetched)
    }

    fn new(document: Vec<u8>, fetched: Duration) -> Result<Self, String> {
        Ok(Self { keys: jwk::published(&document)?, fetched, digest: crypto::sha256(&document), document })
    }

    /// For the shared state.
    pub(crate) fn to_shared(&self) -> Vec<u8> {
        let nanos = u64::try_from(self.fetched.as_nanos()).unwrap_or(u64::MAX);
        [&nanos.to_le_bytes(), self.document.as_slice()].concat()
    }

    /// From the shared state, when it is newer than `held`.
    pub(crate) fn from_shared(value: &[u8], held: Option<Duration>) -> Option<Self> {
        let (stamp, document) = value.split_first_chunk::<STAMP_BYTES>()?;
        let fetched = Duration::from_nanos(u64::from_le_bytes(*stamp));
        if held.is_some_and(|held| fetched <= held) {
            return None;
        }
        Self::new(document.to_vec(), fetched).ok()
    }
}
