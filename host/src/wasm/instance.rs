//! One instance of a module: its store, its limits, and calls into it.
//!
//! **Invariant:** no guest code runs without a CPU budget and a memory limit; after an error here the instance is not
//! called again.

use std::{fmt::Display, sync::Arc};

use meshup_abi::{Event, Fields, Overflow, SliceSink, Writer, tag};
use wasmtime::{Memory, ModuleExport, Store, Trap, TypedFunc, WasmBacktrace, WasmParams, WasmResults};

use super::{
    bounds::{OutOfBounds, Region},
    environment::{Environment, Guest, on_epoch},
    fault::FaultCause,
    module::Module,
};
use crate::exchange::ExchangeInfo;

/// Longer reasons to refuse a configuration are cut.
const MAX_REASON_BYTES: usize = 4 << 10;
/// Longer names of functions are cut.
const MAX_NAME_CHARS: usize = 128;

/// A running instance.
pub(super) struct Instance {
    store: Store<Guest>,
    memory: Memory,
    buffer: TypedFunc<u32, u32>,
    on_event: TypedFunc<(u32, u32, u32), u64>,
    /// Where the guest said that it takes the next message.
    next_message: Option<Region>,
}

/// What to call `on_event` with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion {
    pub(super) exchange: u32,
    pub(super) event: Event,
}

impl Instance {
    /// Instantiates the module and runs its start function.
    fn new(module: &Module, environment: &Arc<Environment>) -> Result<(Self, wasmtime::Instance), FaultCause> {
        let mut store = new_store(module, environment)?;
        let instance = module.pre.instantiate(&mut store).map_err(|error| instantiate_cause(&store, &error))?;
        let exports = &module.exports;
        let memory = instance.get_module_export(&mut store, &exports.memory).and_then(|export| export.into_memory());
        let memory = memory.ok_or_else(|| unlinked("memory"))?;
        store.data_mut().memory = Some(memory);
        let buffer = function(&mut store, instance, &exports.buffer)?;
        let on_event = function(&mut store, instance, &exports.on_event)?;
        Ok((Self { store, memory, buffer, on_event, next_message: None }, instance))
    }

    /// The ABI version that the module tells.
    pub(super) fn version(module: &Module, environment: &Arc<Environment>) -> Result<u32, FaultCause> {
        let (mut new, instance) = Self::new(module, environment)?;
        let version: TypedFunc<(), u32> = function(&mut new.store, instance, &module.exports.version)?;
        new.begin_call();
        version.call(&mut new.store, ()).map_err(|error| new.cause(&error))
    }

    /// Instantiates the module and hands it its configuration.
    pub(super) fn configured(
        module: &Module,
        environment: &Arc<Environment>,
        config: &str,
    ) -> Result<Self, FaultCause> {
        let (mut new, instance) = Self::new(module, environment)?;
        let configure: TypedFunc<u32, u64> = function(&mut new.store, instance, &module.exports.configure)?;
        new.configure(&configure, &environment.filter, config)?;
        new.store.data_mut().end_setup();
        Ok(new)
    }

    fn configure(&mut self, configure: &TypedFunc<u32, u64>, name: &str, config: &str) -> Result<(), FaultCause> {
        self.begin_call();
        let len = self.send(name.len() + config.len() + 12, |writer| {
            writer.bytes(tag::NAME, name.as_bytes())?;
            writer.bytes(tag::CONFIG, config.as_bytes())
        })?;
        let packed = configure.call(&mut self.store, len).map_err(|error| self.cause(&error))?;
        read_refusal(self.answer(packed)?)
    }

    /// Hands an event to the guest and its answer to `read`. End and Cancelled have no answer: `read` gets nothing.
    pub(super) fn call<R, E: Display>(
        &mut self,
        occasion: Occasion,
        size: usize,
        write: impl FnOnce(&mut Writer<'_, SliceSink<'_>>) -> Result<(), Overflow>,
        read: impl FnOnce(&[u8]) -> Result<R, E>,
    ) -> Result<R, FaultCause> {
        let Occasion { exchange, event } = occasion;
        self.begin_call();
        let len = self.send(size, write)?;
        let packed =
            self.on_event.call(&mut self.store, (exchange, event.code(), len)).map_err(|error| self.cause(&error))?;
        if matches!(event, Event::End | Event::Cancelled) {
            return read(&[]).map_err(FaultCause::malformed);
        }
        let answer = Region::unpack(packed).of(self.memory.data(&self.store))?;
        self.next_message = Fields::next_buffer(answer).map(|(address, len)| Region::new(address, len));
        read(answer).map_err(FaultCause::malformed)
    }

    /// Exchanges the info that host calls see for `info`.
    #[inline]
    pub(super) fn swap_info(&mut self, info: &mut Option<Box<ExchangeInfo>>) {
        std::mem::swap(&mut self.store.data_mut().info, info);
    }

    #[inline]
    fn begin_call(&mut self) {
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(1);
    }

    /// Writes a message of at most `size` bytes into the guest's buffer; gives its length.
    #[inline]
    fn send(
        &mut self,
        size: usize,
        write: impl FnOnce(&mut Writer<'_, SliceSink<'_>>) -> Result<(), Overflow>,
    ) -> Result<u32, FaultCause> {
        let size = u32::try_from(size).map_err(|_| self.too_large())?;
        let address = match self.next_message.take() {
            Some(room) if room.len >= size => room.address,
            _ => self.buffer.call(&mut self.store, size).map_err(|error| self.cause(&error))?,
        };
        let mut sink = SliceSink::new(Region::new(address, size).of_mut(self.memory.data_mut(&mut self.store))?);
        write(&mut Writer::new(&mut sink)).map_err(FaultCause::malformed)?;
        // At most `size`, which is a u32.
        Ok(sink.written() as u32)
    }

    #[inline]
    fn answer(&self, packed: u64) -> Result<&[u8], FaultCause> {
        Ok(Region::unpack(packed).of(self.memory.data(&self.store))?)
    }

    fn too_large(&self) -> FaultCause {
        FaultCause::MemoryLimit { limit: self.store.data().memory_limit.bytes() }
    }

    #[cold]
    fn cause(&self, error: &wasmtime::Error) -> FaultCause {
        cause(self.store.data(), error)
    }
}

fn new_store(module: &Module, environment: &Arc<Environment>) -> Result<Store<Guest>, FaultCause> {
    let mut store = Store::try_new(module.engine(), Guest::new(environment))
        .map_err(|error| FaultCause::Instantiate { reason: format!("{error:#}") })?;
    store.limiter(|guest| &mut guest.memory_limit);
    store.epoch_deadline_callback(on_epoch);
    store.data_mut().begin_call();
    store.set_epoch_deadline(1);
    Ok(store)
}

fn function<P: WasmParams, R: WasmResults>(
    store: &mut Store<Guest>,
    instance: wasmtime::Instance,
    export: &ModuleExport,
) -> Result<TypedFunc<P, R>, FaultCause> {
    let function = instance.get_module_export(&mut *store, export).and_then(|export| export.into_func());
    function.and_then(|function| function.typed(&*store).ok()).ok_or_else(|| unlinked("function"))
}

/// Linking checked the exports; this is for the day that check and use disagree.
fn unlinked(what: &str) -> FaultCause {
    FaultCause::Instantiate { reason: format!("a {what} of the ABI is not exported") }
}

fn read_refusal(answer: &[u8]) -> Result<(), FaultCause> {
    for field in Fields::new(answer) {
        let field = field.map_err(FaultCause::malformed)?;
        if field.tag == tag::REFUSED {
            let reason = field.payload.get(..MAX_REASON_BYTES).unwrap_or(field.payload);
            return Err(FaultCause::Configure { reason: String::from_utf8_lossy(reason).into_owned() });
        }
    }
    Ok(())
}

fn instantiate_cause(store: &Store<Guest>, error: &wasmtime::Error) -> FaultCause {
    let guest = store.data();
    if error.is::<Trap>() || error.is::<OutOfBounds>() || guest.memory_limit.refused().is_some() {
        return cause(guest, error);
    }
    FaultCause::Instantiate { reason: format!("{error:#}") }
}

fn cause(guest: &Guest, error: &wasmtime::Error) -> FaultCause {
    if let Some(error) = error.downcast_ref::<OutOfBounds>() {
        return (*error).into();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FaultCause::CpuLimit { limit: guest.cpu.limit(), used: guest.cpu.used() },
        Some(Trap::StackOverflow) => FaultCause::StackOverflow,
        trap => guest.memory_limit.refused().unwrap_or_else(|| FaultCause::Trap {
            message: trap.map_or_else(|| format!("{error:#}"), |trap| describe_trap(*trap, error))
                + &said_before(guest),
        }),
    }
}

/// A panic logs why it traps.
fn said_before(guest: &Guest) -> String {
    let said = guest.setup_error.as_deref().filter(|said| !said.is_empty());
    said.map_or_else(String::new, |said| format!(": {said}"))
}

fn describe_trap(trap: Trap, error: &wasmtime::Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let place = backtrace.and_then(|backtrace| backtrace.frames().first()).and_then(|frame| frame.func_name());
    match place {
        Some(place) => format!("{trap} in `{}`", place.chars().take(MAX_NAME_CHARS).collect::<String>()),
        None => trap.to_string(),
    }
}
