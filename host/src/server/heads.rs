//! Request heads that an HTTP/2 connection has the proxy keep until each has its response.
//!
//! One head is small beside what its connection may have under way at a time. Sizes are as they stand in HTTP/1.
//!
//! **Invariant:** what is counted is given back when its exchange has a response, or is dropped.

use std::cell::Cell;

/// Those of one connection.
#[derive(Debug, Default)]
pub(super) struct Heads(Cell<usize>);

/// One that is kept.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    heads: &'a Heads,
    bytes: usize,
}

impl Heads {
    /// Counts one more; `None` when that would be more than `limit` and it is not the only one.
    pub(super) fn keep(&self, bytes: usize, limit: usize) -> Option<Kept<'_>> {
        let all = self.0.get() + bytes;
        if all > limit && all > bytes {
            return None;
        }
        self.0.set(all);
        Some(Kept { heads: self, bytes })
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.heads.0.set(self.heads.0.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_together_and_the_first_is_always_taken() {
        let heads = Heads::default();
        let first = heads.keep(200, 100);
        assert!(first.is_some() && heads.keep(1, 100).is_none());
        drop(first);
        let (half, rest) = (heads.keep(50, 100), heads.keep(50, 100));
        assert!(half.is_some() && rest.is_some() && heads.keep(1, 100).is_none());
        drop(half);
        assert!(heads.keep(51, 100).is_none() && heads.keep(50, 100).is_some());
    }
}
