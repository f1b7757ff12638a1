//! A filter on one worker: the instance its exchanges share, and what happens when that instance is lost.
//!
//! **Invariant:** after a fault nothing calls the instance again, and its memory is back in the pool at once, however
//! many exchanges still hold a [`Ticket`] to it.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use meshup_abi::{Event, Overflow, SliceSink, Writer};
use slab::Slab;

use super::{
    backoff::Backoff,
    cpu::thread_cpu_time,
    fault::{Fault, FaultCause},
    filter::Filter,
    instance::{Instance, Occasion},
    statistics::Tally,
};
use crate::{
    config::{Isolation, OnError},
    exchange::ExchangeInfo,
};

/// A filter as one worker has it.
pub struct WorkerFilter {
    filter: Arc<Filter>,
    /// The instance new exchanges enter; none before the first, after a fault, and with `isolation = "exchange"`.
    current: RefCell<Option<Rc<Seat>>>,
    backoff: RefCell<Backoff>,
    tally: Tally,
}

/// An instance and the exchanges in it.
struct Seat {
    /// None once it faulted.
    instance: RefCell<Option<Instance>>,
    exchanges: RefCell<Slab<()>>,
    /// Exchanges that went to their end.
    completed: Cell<u32>,
    /// CPU time that making the instance took.
    setup: Duration,
}

impl Seat {
    fn new(instance: Instance, setup: Duration) -> Rc<Self> {
        let exchanges = RefCell::new(Slab::new());
        Rc::new(Self { instance: RefCell::new(Some(instance)), exchanges, completed: Cell::new(0), setup })
    }
}

impl std::fmt::Debug for WorkerFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerFilter").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl WorkerFilter {
    /// A filter without an instance yet: the first exchange makes it.
    #[must_use]
    pub fn new(filter: Arc<Filter>) -> Rc<Self> {
        Rc::new(Self {
            filter,
            current: RefCell::new(None),
            backoff: RefCell::new(Backoff::default()),
            tally: Tally::default(),
        })
    }

    /// The filter.
    #[must_use]
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// What an exchange gets when the filter faults.
    pub(crate) fn on_error(&self) -> OnError {
        self.filter.spec().on_error
    }

    /// Makes the instance that exchanges will share, so that the first of them does not wait for it. A failure shows
    /// again at the first exchange.
    pub(crate) fn prepare(&self) {
        if self.filter.spec().isolation == Isolation::Worker {
            let _ = self.shared_seat();
        }
    }

    /// The fault of a filter whose answer means nothing at this point.
    pub(crate) fn malformed(&self, reason: impl Display) -> Fault {
        self.filter.fault(FaultCause::malformed(reason))
    }

    /// The fault of a filter that needs more than `calls` events for one exchange.
    pub(crate) fn exhausted(&self, calls: u32) -> Fault {
        self.malformed(format_args!("more than {calls} events in one exchange"))
    }

    /// Adds what this worker counted to the filter's numbers; to be called about once per second.
    pub fn flush(&self) {
        self.tally.flush(self.filter.numbers());
    }

    /// An exchange comes to this filter.
    ///
    /// # Errors
    /// [`Fault`] when no instance can be made, or is to be made yet.
    pub fn enter(self: &Rc<Self>) -> Result<Ticket, Fault> {
        let seat = match self.filter.spec().isolation {
            Isolation::Worker => self.shared_seat()?,
            Isolation::Exchange => self.own_seat()?,
        };
        // Far fewer than 2^32 exchanges fit the memory of a worker.
        let exchange = seat.exchanges.borrow_mut().insert(()) as u32;
        Ok(Ticket { worker_filter: Rc::clone(self), seat, exchange, faulted: Cell::new(false) })
    }

    fn shared_seat(&self) -> Result<Rc<Seat>, Fault> {
        if let Some(seat) = &*self.current.borrow() {
            return Ok(Rc::clone(seat));
        }
        let seat = self.fresh_seat()?;
        *self.current.borrow_mut() = Some(Rc::clone(&seat));
        Ok(seat)
    }

    /// An instance for one exchange. Only a setup that fails makes the next one wait: what an exchange does in an
    /// instance of its own is no reason.
    fn own_seat(&self) -> Result<Rc<Seat>, Fault> {
        self.check_pause()?;
        self.make().map_err(|(cause, setup)| match cause {
            // There is no room, which the next exchange may find.
            FaultCause::Instantiate { .. } => self.filter.fault(cause),
            cause => self.setup_failed(cause, setup),
        })
    }

    #[cold]
    fn fresh_seat(&self) -> Result<Rc<Seat>, Fault> {
        self.check_pause()?;
        self.make().map_err(|(cause, setup)| self.setup_failed(cause, setup))
    }

    /// A fresh instance; or why there is none, and the CPU time it took to find out.
    fn make(&self) -> Result<Rc<Seat>, (FaultCause, Duration)> {
        let began = thread_cpu_time().unwrap_or_default();
        let made = self.filter.instantiate();
        let setup = thread_cpu_time().unwrap_or_default().saturating_sub(began);
        made.map(|instance| Seat::new(instance, setup)).map_err(|cause| (cause, setup))
    }

    fn check_pause(&self) -> Result<(), Fault> {
        let remaining = self.backoff.borrow().remaining(Instant::now());
        remaining.map_or(Ok(()), |remaining| Err(self.filter.fault(FaultCause::BackingOff { remaining })))
    }

    #[cold]
    fn setup_failed(&self, cause: FaultCause, setup: Duration) -> Fault {
        self.backoff.borrow_mut().faulted(Instant::now(), 0, setup);
        self.filter.fault(cause)
    }

    /// An instance faulted: the next exchange gets another.
    #[cold]
    fn lose(&self, seat: &Rc<Seat>, cause: FaultCause) -> Fault {
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_some_and(|current| Rc::ptr_eq(current, seat)) {
            *current = None;
            self.backoff.borrow_mut().faulted(Instant::now(), seat.completed.get(), seat.setup);
        }
        self.filter.fault(cause)
    }
}

impl Drop for WorkerFilter {
    fn drop(&mut self) {
        self.flush();
    }
}

/// One exchange in one instance. Dropping it frees the exchange's number for another exchange, so a guest that still
/// waits for something must have been told before, with `Cancelled` or `End`.
pub struct Ticket {
    worker_filter: Rc<WorkerFilter>,
    seat: Rc<Seat>,
    exchange: u32,
    faulted: Cell<bool>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.worker_filter.filter.spec().name;
        f.debug_struct("Ticket").field("filter", name).field("exchange", &self.exchange).finish()
    }
}

impl Ticket {
    /// Hands an event to the guest: a message of at most `size` bytes that `write` writes straight into guest memory.
    /// `read` gets the answer where it lies, and its refusal counts as the guest's fault; for `End` and `Cancelled` it
    /// gets an empty message. Host calls see `info` meanwhile, and it is back afterwards in any case.
    ///
    /// # Errors
    /// [`Fault`]; the instance is then lost for every exchange in it.
    pub fn call<R, E: Display>(
        &self,
        event: Event,
        info: &mut Option<Box<ExchangeInfo>>,
        size: usize,
        write: impl FnOnce(&mut Writer<'_, SliceSink<'_>>) -> Result<(), Overflow>,
        read: impl FnOnce(&[u8]) -> Result<R, E>,
    ) -> Result<R, Fault> {
        // Taken only when `write` or `read` calls the same filter again, which is for the host not to do.
        let Ok(mut slot) = self.seat.instance.try_borrow_mut() else { return Err(self.lost()) };
        let Some(instance) = slot.as_mut() else { return Err(self.lost()) };
        let WorkerFilter { tally, filter, .. } = &*self.worker_filter;
        let began = tally.begin();
        instance.swap_info(info);
        let result = instance.call(Occasion { exchange: self.exchange, event }, size, write, read);
        instance.swap_info(info);
        tally.end(began, filter.numbers());
        result.map_err(|cause| {
            *slot = None;
            self.faulted.set(true);
            self.worker_filter.lose(&self.seat, cause)
        })
    }

    /// The filter.
    #[must_use]
    pub fn filter(&self) -> &Arc<Filter> {
        &self.worker_filter.filter
    }

    #[cold]
    fn lost(&self) -> Fault {
        self.faulted.set(true);
        self.worker_filter.filter.fault(FaultCause::InstanceLost)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.seat.exchanges.borrow_mut().try_remove(self.exchange as usize);
        if !self.faulted.get() {
            self.seat.completed.set(self.seat.completed.get().saturating_add(1));
        }
    }
}
