//! Tokens that were verified, so that a signature is checked once and not with every request.
//!
//! Entries live in a young and an old generation: what is used is young, and when the young is full it becomes the old
//! one, whose entries are forgotten. That is nearly least-recently-used, without a list to keep in order.
//!
//! **Invariant:** a token is found only by all of its bytes and before its end; the size is bounded in entries and bytes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    mem,
    rc::Rc,
    time::Duration,
};

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
    /// The digest of the fetched keys that verified the tokens.
    keys: Cell<Option<[u8; 32]>>,
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
        Self {
            entries_per_generation: entries.div_ceil(2),
            ttl,
            generations: RefCell::default(),
            keys: Cell::default(),
        }
    }

    /// Forgets every token when other keys count from now on.
    pub(crate) fn only_for(&self, keys: Option<[u8; 32]>) {
        if self.keys.replace(keys) != keys {
            self.generations.take();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{claims::Claims, grant::Handover};

    const TTL: Duration = Duration::from_secs(60);
    const NOW: Duration = Duration::from_secs(1000);

    fn grant() -> Rc<Grant> {
        let handover = Handover { headers: Vec::new(), variables: Vec::new(), removed: None };
        Rc::new(handover.grant(&Claims(serde_json::Value::Null)).unwrap())
    }

    fn token(number: u32) -> String {
        format!("header.payload.{number:016}")
    }

    fn filled(entries: usize, tokens: std::ops::Range<u32>) -> Cache {
        let cache = Cache::new(entries, TTL);
        tokens.for_each(|number| cache.insert(&token(number), grant(), NOW, Duration::MAX));
        cache
    }

    fn held(cache: &Cache) -> usize {
        let generations = cache.generations.borrow();
        generations.young.len() + generations.old.len()
    }

    #[test]
    fn a_token_is_found_by_all_of_its_bytes() {
        let cache = filled(8, 0..2);
        assert!(cache.find(&token(1), NOW).is_some());
        assert!(cache.find(&token(1).replacen('h', "H", 1), NOW).is_none());
        assert!(cache.find(&token(2), NOW).is_none());
        assert!(cache.find("short", NOW).is_none());
    }

    #[test]
    fn a_token_is_found_until_its_end_or_that_of_the_ttl() {
        let cache = filled(8, 0..1);
        cache.insert(&token(1), grant(), NOW, NOW + Duration::from_secs(5));
        for (number, seconds, expected) in [(0, 59, true), (0, 60, false), (1, 4, true), (1, 5, false)] {
            let found = cache.find(&token(number), NOW + Duration::from_secs(seconds));
            assert_eq!(found.is_some(), expected, "{number} after {seconds} s");
        }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = filled(8, 0..4);
        for number in 100..200 {
            assert!(cache.find(&token(0), NOW).is_some(), "before {number}");
            cache.insert(&token(number), grant(), NOW, Duration::MAX);
            assert!(held(&cache) <= 8);
        }
        assert!(cache.find(&token(1), NOW).is_none() && cache.find(&token(199), NOW).is_some());
    }

    #[test]
    fn no_entries_means_no_cache() {
        let cache = filled(0, 0..4);
        assert!(cache.find(&token(3), NOW).is_none());
        assert_eq!(held(&cache), 0);
    }

    #[test]
    fn large_tokens_are_bounded_by_their_bytes() {
        let cache = Cache::new(10_000, TTL);
        for number in 0..2000 {
            cache.insert(&format!("{}{}", "x".repeat(8000), token(number)), grant(), NOW, Duration::MAX);
            assert!(cache.generations.borrow().young_bytes <= MAX_GENERATION_BYTES);
        }
        assert!((400..600).contains(&held(&cache)), "{}", held(&cache));
    }
}
