//! What a chain remembers of each of its filters during one exchange.
//!
//! **Invariant:** a filter is told the end of an exchange once, if it wants to, and after whatever it waited for.

use std::time::Instant;

use meshup_abi::{Event, Malformed, Overflow};

use crate::{
    exchange::{
        ExchangeInfo,
        answer::{HeaderChanges, Phase},
        completion::Summary,
        event,
    },
    wasm::Ticket,
};

/// What one filter is doing in an exchange.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet, or nothing any more.
    #[default]
    Idle,
    /// It waits for the response of what is behind it.
    Waiting,
    /// It waits for a body, a fetch or the end of a sleep.
    Busy,
}

/// One filter's part in an exchange.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) ticket: Option<Ticket>,
    pub(super) state: State,
    pub(super) phase: Option<Phase>,
    pub(super) want_end: bool,
    /// To be done to the response of a request that it passed on.
    pub(super) on_response: Option<HeaderChanges>,
    /// Of the present Run.
    pub(super) deadline: Option<Instant>,
    pub(super) calls: u32,
}

impl Slot {
    pub(super) fn is_pending(&self) -> bool {
        self.state != State::Idle
    }

    /// Tells the filter that what it waits for will not come.
    pub(super) fn cancel(&mut self, info: &mut Option<Box<ExchangeInfo>>) {
        if self.is_pending()
            && let Some(ticket) = &self.ticket
        {
            self.state = State::Idle;
            notify(ticket, Event::Cancelled, info, 0, |_| Ok(()));
        }
    }

    /// The exchange is over for this filter.
    pub(super) fn finish(&mut self, summary: &Summary, info: &mut Option<Box<ExchangeInfo>>) {
        self.cancel(info);
        let Some(ticket) = self.ticket.take() else { return };
        if self.want_end {
            notify(&ticket, Event::End, info, event::SUMMARY_SIZE, |message| event::write_summary(message, summary));
        }
    }
}

/// Tells a filter something that has no answer. A fault then is the filter's own and was counted.
pub(super) fn notify(
    ticket: &Ticket,
    event: Event,
    info: &mut Option<Box<ExchangeInfo>>,
    size: usize,
    write: impl FnOnce(&mut event::Message<'_, '_>) -> Result<(), Overflow>,
) {
    let _ = ticket.call(event, info, size, write, |_| Ok::<(), Malformed>(()));
}

/// The parts of all filters of a route, outermost first.
#[derive(Debug)]
pub(in crate::exchange) struct Slots(pub(super) Vec<Slot>);

impl Slots {
    pub(in crate::exchange) fn new(filters: usize) -> Self {
        let mut slots = Vec::with_capacity(filters);
        slots.resize_with(filters, Slot::default);
        Self(slots)
    }

    /// The exchange is over: every filter's part ends, outermost first.
    pub(in crate::exchange) fn finish(&mut self, summary: &Summary, info: &mut Option<Box<ExchangeInfo>>) {
        for slot in &mut self.0 {
            slot.finish(summary, info);
        }
    }

    pub(super) fn any_waiting(&self) -> bool {
        self.0.iter().any(|slot| slot.state == State::Waiting)
    }
}
