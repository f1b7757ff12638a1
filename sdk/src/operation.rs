//! One thing the host does while the filter waits.
//!
//! Its first poll writes the verdict that asks for it, its second takes the event that brings the outcome. There is no
//! executor behind it: the host's next event is the wake-up.
//!
//! **Invariant:** one operation is in flight per exchange; a second one is a panic that says so.

use std::{future::poll_fn, task::Poll};

use meshup_abi::Event;

use crate::{buffer::Buffer, context};

#[derive(Debug)]
pub(crate) struct Operation {
    outcome: Event,
    asked: bool,
}

impl Operation {
    /// An operation that ends with the event `outcome`.
    #[inline]
    pub(crate) fn new(outcome: Event) -> Self {
        Self { outcome, asked: false }
    }

    /// True once: then the caller has to ask.
    #[inline]
    pub(crate) fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.asked, true)
    }

    /// The message of the event that ends it, when that is the one that came in.
    #[inline]
    pub(crate) fn outcome(&self) -> Poll<Buffer> {
        context::take_event(self.outcome).map_or(Poll::Pending, Poll::Ready)
    }

    /// The whole of it, for operations without options.
    pub(crate) async fn done(mut self, ask: impl Fn()) -> Buffer {
        poll_fn(|_| {
            if self.begins() {
                ask();
            }
            self.outcome()
        })
        .await
    }
}
