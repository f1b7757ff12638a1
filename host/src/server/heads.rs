//! Request heads that an HTTP/2 connection has the proxy keep until each has its response.
//!
//! One head is small beside what its connection may have under way at a time. Sizes are as they stand in HTTP/1.
//!
//! **Invariant:** what is counted is given back when its exchange has a response, or is dropped.

use std::{cell::Cell, rc::Rc};

use super::link::Link;

/// Those of one connection.
#[derive(Debug, Default)]
pub(super) struct Heads(Cell<usize>);

/// One that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    link: Rc<Link>,
    bytes: usize,
}

impl Kept {
    /// Counts one more of a connection; `None` when that would be more than `limit` and it is not the only one.
    pub(super) fn one(link: &Rc<Link>, bytes: usize, limit: usize) -> Option<Self> {
        let Heads(heads) = &link.heads;
        let all = heads.get() + bytes;
        if all > limit && all > bytes {
            return None;
        }
        heads.set(all);
        Some(Self { link: link.clone(), bytes })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Heads(heads) = &self.link.heads;
        heads.set(heads.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_together_and_the_first_is_always_taken() {
        let link = Rc::default();
        let keep = |bytes| Kept::one(&link, bytes, 100);
        let first = keep(200);
        assert!(first.is_some() && keep(1).is_none());
        drop(first);
        let (half, rest) = (keep(50), keep(50));
        assert!(half.is_some() && rest.is_some() && keep(1).is_none());
        drop(half);
        assert!(keep(51).is_none() && keep(50).is_some());
    }
}
