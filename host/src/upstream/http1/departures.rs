//! Requests without a body are sent when the tasks that are ready now had their turn.
//!
//! Requests that come together go on together: an endpoint that would fall asleep between two of them is woken once.
//!
//! **Invariant:** nothing waits for anything but tasks that are ready, and what nobody waits for any more is not sent.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use super::Line;

thread_local! {
    static WAITING: RefCell<Vec<Weak<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Has what was written to a connection's wire sent soon.
pub(super) fn add(line: &Rc<Line>) {
    line.wire.borrow_mut().depart_later();
    WAITING.with_borrow_mut(|waiting| {
        if waiting.is_empty() {
            let next = Departure;
            tokio::task::spawn_local(async move { next.send() });
        }
        waiting.push(Rc::downgrade(line));
    });
}

/// All that wait. They are forgotten with it, should the runtime end before.
struct Departure;

impl Departure {
    fn send(&self) {
        WAITING.with_borrow_mut(|waiting| {
            for line in waiting.drain(..).filter_map(|line| line.upgrade()) {
                line.wire.borrow_mut().depart();
            }
        });
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        let _ = WAITING.try_with(|waiting| waiting.borrow_mut().clear());
    }
}
