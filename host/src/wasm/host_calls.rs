//! The functions a guest may import, a file per topic. None of them waits.
//!
//! Each takes numbers from the guest, makes slices of them through `bounds`, does its work on the `Guest` of the store
//! and gives a number back. What the numbers mean is said in `meshup_abi::import`.
//!
//! **Invariant:** an address outside the guest's memory ends the call with an error, any other bad argument is a
//! negative result.

use meshup_abi::{IMPORT_MODULE, import};
use wasmtime::{Caller, Engine, Linker};

use super::{bounds::Region, environment::Guest};

mod clock;
mod crypto;
mod exchange;
mod log;
mod metrics;
mod state;

type Result<T> = wasmtime::Result<T>;

/// A linker that knows every host call.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap(IMPORT_MODULE, import::LOG, log::log)?
        .func_wrap(IMPORT_MODULE, import::NOW_UNIX, clock::now_unix)?
        .func_wrap(IMPORT_MODULE, import::NOW_MONOTONIC, clock::now_monotonic)?
        .func_wrap(IMPORT_MODULE, import::RANDOM, crypto::random)?
        .func_wrap(IMPORT_MODULE, import::METRIC_SERIES, metrics::metric_series)?
        .func_wrap(IMPORT_MODULE, import::METRIC_RECORD, metrics::metric_record)?
        .func_wrap(IMPORT_MODULE, import::METRIC_RECORDS, metrics::metric_records)?
        .func_wrap(IMPORT_MODULE, import::ATTRIBUTE, exchange::attribute)?
        .func_wrap(IMPORT_MODULE, import::VARIABLE, exchange::variable)?
        .func_wrap(IMPORT_MODULE, import::SET_VARIABLE, exchange::set_variable)?
        .func_wrap(IMPORT_MODULE, import::STATE_GET, state::get)?
        .func_wrap(IMPORT_MODULE, import::STATE_SET, state::set)?
        .func_wrap(IMPORT_MODULE, import::STATE_COMPARE_AND_SWAP, state::compare_and_swap)?
        .func_wrap(IMPORT_MODULE, import::STATE_ADD, state::add)?
        .func_wrap(IMPORT_MODULE, import::STATE_REMOVE, state::remove)?
        .func_wrap(IMPORT_MODULE, import::SHA256, crypto::sha256)?
        .func_wrap(IMPORT_MODULE, import::HMAC_SHA256, crypto::hmac_sha256)?
        .func_wrap(IMPORT_MODULE, import::VERIFY, crypto::verify)?;
    Ok(linker)
}

/// The calling guest's memory and data.
fn guest<'a>(caller: &'a mut Caller<'_, Guest>) -> Result<(&'a mut [u8], &'a mut Guest)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => starting_memory(caller)?,
    };
    Ok(memory.data_and_store_mut(caller))
}

/// The memory while the start function runs, before the instance is complete.
#[cold]
fn starting_memory(caller: &mut Caller<'_, Guest>) -> Result<wasmtime::Memory> {
    let export = caller.get_export(meshup_abi::export::MEMORY).and_then(|export| export.into_memory());
    export.ok_or_else(|| wasmtime::Error::msg("the guest exports no memory"))
}
