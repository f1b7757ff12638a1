//! What keeps a filter that means harm from taking the worker or the head of a message for itself.
//!
//! Its memory and the CPU time of a call are bounded by its instance; this is about what many calls add up to.
//!
//! **Invariant:** no change reaches a head that a map of headers could not take.

use super::{
    Exchange,
    answer::{Answer, Decision, HeaderChanges, ResponseChanges},
};
use crate::wasm::{Fault, WorkerFilter};

/// Guest calls of one filter for one exchange after which others get their turn, also where nothing was waited for.
const CALLS_PER_TURN: u32 = 4;

impl Exchange {
    /// Whether filter `at` was called so often that others of this worker are to be let in between.
    pub(super) fn had_its_turn(&self, at: usize) -> bool {
        let calls = self.end.slots.0.get(at).map_or(0, |slot| slot.calls);
        calls > 0 && calls.is_multiple_of(CALLS_PER_TURN)
    }

    /// The answer, unless it would make more of a head than there may be.
    pub(super) fn fitting(&self, filter: &WorkerFilter, answer: Answer) -> Result<Answer, Fault> {
        let fit = match &answer.verdict {
            Decision::Pass(changes, _) | Decision::Run { changes, .. } => changes.headers.check_fit(&self.head.headers),
            Decision::Deliver(changes) => changes.headers.check_fit(&self.reply.head.headers),
            _ => Ok(()),
        };
        fit.map(|()| answer).map_err(|refused| filter.malformed(refused))
    }

    /// Makes the changes that filter `at` left behind for the response.
    pub(super) fn change_ahead(&mut self, filter: &WorkerFilter, at: usize, headers: HeaderChanges) {
        match headers.check_fit(&self.reply.head.headers) {
            Ok(()) => self.change_response(at, ResponseChanges { status: None, headers, body: None }),
            Err(refused) => {
                let fault = filter.malformed(refused);
                _ = self.fault(filter, at, &fault);
            }
        }
    }
}
