//! Tokens that were verified, so that a signature is checked once and not with every request.
//!
//! Entries live in a young and an old generation: what is used is young, and when the young is full it becomes the old
//! one, whose entries are forgotten. That is nearly least-recently-used, without a list to keep in order.
//!
//! **Invariant:** a token is found only by all of its bytes and before its end; the size is bounded in entries and bytes.

use std::{cell::RefCell, collections::BTreeMap, mem, rc::Rc, time::Duration};

use crate::grant::Grant;

/// Bytes of one generation: two of them leave most of an instance's memory free.
const MAX_GENERATION_BYTES: usize = 2 << 20;

/// The end of a token, which is the end of a signature and so as good as a hash.
type Tail = [u8; 16];

/// Verified tokens.
#[derive(Debug)]
pub(crate) struct Cache {
    entries_per_generation: usize,
    ttl: Duration,
    generations: RefCell<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: BTreeMap<Tail, Entry>,
    old: BTreeMap<Tail, Entry>,
    young_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    token: Box<str>,
    grant: Rc<Grant>,
    until: Duration,
}

impl Cache {
    /// A cache of at most `entries`, each for at most `ttl`. With no entries it remembers nothing.
    pub(crate) fn new(entries: usize, ttl: Duration) -> Self {
        Self { entries_per_generation: entries.div_ceil(2), ttl, generations: RefCell::default() }
    }

    /// What was granted for the token, while it is valid.
    pub(crate) fn find(&self, token: &str, now: Duration) -> Option<Rc<Grant>> {
        let tail: Tail = *token.as_bytes().last_chunk()?;
        let mut generations = self.generations.borrow_mut();
        if !generations.young.contains_key(&tail) {
            let entry = generations.old.remove(&tail)?;
            generations.insert(self.entries_per_generation, tail, entry);
        }
        let entry = generations.young.get(&tail)?;
        (*entry.token == *token && now < entry.until).then(|| Rc::clone(&entry.grant))
    }

    /// Remembers a token that is valid until `until`.
    pub(crate) fn insert(&self, token: &str, grant: Rc<Grant>, now: Duration, until: Duration) {
        let Some(tail) = token.as_bytes().last_chunk().copied() else { return };
        if self.entries_per_generation == 0 {
            return;
        }
        let until = until.min(now.saturating_add(self.ttl));
        let entry = Entry { token: token.into(), grant, until };
        self.generations.borrow_mut().insert(self.entries_per_generation, tail, entry);
    }
}

impl Generations {
    fn insert(&mut self, limit: usize, tail: Tail, entry: Entry) {
        let bytes = entry.bytes();
        if self.young.len() >= limit || self.young_bytes + bytes > MAX_GENERATION_BYTES {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some(replaced) = self.young.insert(tail, entry) {
            self.young_bytes -= replaced.bytes();
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.token.len() + self.grant.bytes()
    }
}
