//! Where the running exchange meets the runtime: the event that came in, the answer that goes out.
//!
//! A guest is single-threaded and one exchange runs at a time, so this is one place per thread; on wasm that is a plain
//! static. Operations reach it without carrying a reference.
//!
//! **Invariant:** nothing here is borrowed while the filter's own code runs.

use std::{
    cell::{Cell, RefCell},
    mem,
};

use meshup_abi::{Event, Verdict, flag, tag};

use crate::{buffer::Buffer, summary::Summary, wire};

pub(crate) type OnEnd = Box<dyn FnOnce(&Summary)>;

/// What an exchange keeps between its events, apart from the future.
#[derive(Default)]
pub(crate) struct ExchangeState {
    runs: u32,
    on_end: Vec<OnEnd>,
}

impl ExchangeState {
    pub(crate) fn take_on_end(&mut self) -> impl Iterator<Item = OnEnd> {
        self.on_end.drain(..)
    }

    pub(crate) fn reset(&mut self) {
        self.runs = 0;
        self.on_end.clear();
    }
}

struct Context {
    event: Cell<Option<Event>>,
    message: Cell<Buffer>,
    answer: RefCell<Vec<u8>>,
    answered: Cell<bool>,
    /// Where the host may write the next message, packed; 0 where it has to ask.
    buffer: Cell<u64>,
    exchange: RefCell<ExchangeState>,
}

thread_local! {
    static CONTEXT: Context = const {
        Context {
            event: Cell::new(None),
            message: Cell::new(Buffer::EMPTY),
            answer: RefCell::new(Vec::new()),
            answered: Cell::new(false),
            buffer: Cell::new(0),
            exchange: RefCell::new(ExchangeState { runs: 0, on_end: Vec::new() }),
        }
    };
}

/// Makes `state` the running exchange's. The event, if any, waits for the operation that takes it.
#[inline]
pub(crate) fn enter(state: &mut ExchangeState, event: Option<(Event, Buffer)>) {
    CONTEXT.with(|context| {
        mem::swap(&mut *context.exchange.borrow_mut(), state);
        context.answered.set(false);
        context.answer.borrow_mut().clear();
        let (event, message) = event.map_or((None, Buffer::EMPTY), |(event, message)| (Some(event), message));
        context.event.set(event);
        context.message.set(message);
    });
}

/// Gives the running exchange's state back.
#[inline]
pub(crate) fn leave(state: &mut ExchangeState) {
    CONTEXT.with(|context| mem::swap(&mut *context.exchange.borrow_mut(), state));
}

/// The message of the event that came in, when it is `expected` and not yet taken.
pub(crate) fn take_event(expected: Event) -> Option<Buffer> {
    CONTEXT.with(|context| {
        let event = context.event.take()?;
        assert!(event == expected, "the host sent the event {event} where the filter waits for {expected}");
        Some(context.message.take())
    })
}

/// Answers with the verdict of an operation.
#[inline]
pub(crate) fn ask(verdict: Verdict, flags: u32, write: impl FnOnce(&mut Vec<u8>)) {
    assert!(!answered(), "a filter awaits one operation at a time: join and select cannot work here");
    answer(verdict, flags, write);
}

/// Answers with a verdict; it replaces one that an abandoned operation left.
#[inline]
pub(crate) fn answer(verdict: Verdict, flags: u32, write: impl FnOnce(&mut Vec<u8>)) {
    CONTEXT.with(|context| {
        let want_end = if context.exchange.borrow().on_end.is_empty() { 0 } else { flag::WANT_END };
        let mut answer = context.answer.borrow_mut();
        answer.clear();
        wire::put_verdict(&mut answer, verdict, context.buffer.get());
        write(&mut answer);
        if flags | want_end != 0 {
            wire::put_u32(&mut answer, tag::FLAGS, flags | want_end);
        }
        context.answered.set(true);
    });
}

/// The answer tells the host where to write the next message.
#[cfg(target_family = "wasm")]
pub(crate) fn offer_buffer(packed: u64) {
    CONTEXT.with(|context| context.buffer.set(packed));
}

#[inline]
pub(crate) fn answered() -> bool {
    CONTEXT.with(|context| context.answered.get())
}

/// The answer as it stands.
#[inline]
pub(crate) fn with_answer<T>(read: impl FnOnce(&[u8]) -> T) -> T {
    CONTEXT.with(|context| read(&context.answer.borrow()))
}

/// The number of the run that is the exchange's latest; 0 before the first.
#[inline]
pub(crate) fn latest_run() -> u32 {
    CONTEXT.with(|context| context.exchange.borrow().runs)
}

pub(crate) fn count_run() {
    CONTEXT.with(|context| context.exchange.borrow_mut().runs += 1);
}

pub(crate) fn on_end(callback: OnEnd) {
    CONTEXT.with(|context| context.exchange.borrow_mut().on_end.push(callback));
}
