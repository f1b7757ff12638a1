//! The functions behind a filter module's exports; `#[meshup_sdk::filter]` writes the exports themselves.
//!
//! **Invariant:** the only place that turns addresses of the host into Rust memory.
#![allow(unsafe_code, reason = "the message buffer is filled by the host, behind the compiler's back")]

use std::{
    cell::{Cell, RefCell},
    panic::PanicHookInfo,
};

use meshup_abi::{Event, Level, pack, tag};

use crate::{
    buffer::Buffer,
    context,
    filter::Filter,
    host,
    instance::{self, Instance},
    wire,
};

thread_local! {
    static INBOX: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static INSTANCE: RefCell<Option<Box<dyn Instance>>> = const { RefCell::new(None) };
    static CONFIGURED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The address of a buffer of at least `len` bytes.
#[must_use]
pub fn buffer(len: u32) -> u32 {
    let mut inbox = INBOX.take();
    if inbox.capacity() == 0 {
        inbox = Buffer::pooled();
    }
    inbox.reserve(len as usize);
    let address = inbox.as_mut_ptr() as usize as u32;
    INBOX.set(inbox);
    address
}

/// Configures `filter` and gives the packed answer.
pub fn configure<F: Filter<K>, K: 'static>(filter: F, len: u32) -> u64 {
    std::panic::set_hook(Box::new(log_panic));
    let configured = instance::configure(filter, &message(len));
    let mut answer = Vec::new();
    match configured {
        Ok(instance) => INSTANCE.set(Some(instance)),
        Err(reason) => wire::put_bytes(&mut answer, tag::REFUSED, reason.as_bytes()),
    }
    host::hand_over_records();
    let packed = packed(&answer);
    CONFIGURED.set(answer);
    packed
}

/// Takes one event and gives the packed answer; events of a later ABI version are passed over.
#[must_use]
pub fn on_event(exchange: u32, event: u32, len: u32) -> u64 {
    let message = message(len);
    offer_buffer(message.reusable_capacity());
    let Ok(event) = Event::try_from(event) else { return 0 };
    INSTANCE.with_borrow_mut(|instance| {
        let Some(instance) = instance else { panic!("an event came before a configuration was accepted") };
        instance.on_event(exchange, event, message);
    });
    host::hand_over_records();
    context::with_answer(packed)
}

/// Lets the host write the next message without asking, if it takes no more than `capacity` or what there is at hand.
fn offer_buffer(capacity: usize) {
    let mut inbox = Buffer::pooled();
    inbox.reserve(capacity);
    let capacity = inbox.capacity() as u32;
    context::offer_buffer(if capacity == 0 { 0 } else { pack(inbox.as_ptr() as usize as u32, capacity) });
    INBOX.set(inbox);
}

/// A panic ends in a trap, of which the host knows nothing but that it happened.
fn log_panic(panic: &PanicHookInfo<'_>) {
    host::hand_over_records();
    let message = panic.payload_as_str().unwrap_or("panic");
    match panic.location() {
        Some(place) => host::log(Level::Error, &format!("{message}, at {}:{}", place.file(), place.line())),
        None => host::log(Level::Error, message),
    }
}

fn packed(answer: &[u8]) -> u64 {
    pack(answer.as_ptr() as usize as u32, answer.len() as u32)
}

fn message(len: u32) -> Buffer {
    let mut inbox = INBOX.take();
    let len = len as usize;
    assert!(len <= inbox.capacity(), "the message is longer than its buffer");
    // SAFETY: the capacity is checked above, and the host has written `len` bytes at the address `buffer` gave.
    unsafe { inbox.set_len(len) };
    Buffer::from(inbox)
}
