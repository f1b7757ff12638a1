//! State shared across workers.

use std::time::{Duration, Instant};

use meshup_abi::{ABSENT, INVALID, QUOTA};
use wasmtime::Caller;

use super::{Guest, Region, Result, guest};
use crate::wasm::state::{AddError, Expected, QuotaExceeded};

const MAX_KEY: usize = 1 << 10;
const MAX_VALUE: usize = 64 << 10;

/// `expected_len` of a compare-and-swap that expects no value.
const EXPECT_ABSENT: u32 = u32::MAX;

pub(super) fn get(mut caller: Caller<'_, Guest>, key: u32, len: u32, out: u32, capacity: u32) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let key = Region::new(key, len).of(memory)?;
    if !is_allowed(key, &[]) {
        return Ok(ABSENT);
    }
    match guest.environment.state.get(key, Instant::now()) {
        Some(value) => Ok(Region::new(out, capacity).fill(memory, &value)?),
        None => Ok(ABSENT),
    }
}

pub(super) fn set(
    mut caller: Caller<'_, Guest>,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    ttl_ms: u64,
) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let (key, value) = (Region::new(key, key_len).of(memory)?, Region::new(value, value_len).of(memory)?);
    if !is_allowed(key, value) {
        return Ok(INVALID);
    }
    let stored = guest.environment.state.set(key, value, ttl(ttl_ms), Instant::now());
    Ok(stored.map_or(QUOTA, |()| 0))
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
pub(super) fn compare_and_swap(
    mut caller: Caller<'_, Guest>,
    key: u32,
    key_len: u32,
    expected: u32,
    expected_len: u32,
    value: u32,
    value_len: u32,
    ttl_ms: u64,
) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let (key, value) = (Region::new(key, key_len).of(memory)?, Region::new(value, value_len).of(memory)?);
    let expected = match expected_len {
        EXPECT_ABSENT => Expected::Absent,
        len => Expected::Value(Region::new(expected, len).of(memory)?),
    };
    if !is_allowed(key, value) {
        return Ok(INVALID);
    }
    let swapped = guest.environment.state.compare_and_swap(key, expected, value, ttl(ttl_ms), Instant::now());
    Ok(match swapped {
        Ok(swapped) => i32::from(swapped),
        Err(QuotaExceeded) => QUOTA,
    })
}

pub(super) fn add(mut caller: Caller<'_, Guest>, key: u32, len: u32, delta: i64, ttl_ms: u64, out: u32) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let out = Region::new(out, 8);
    out.of(memory)?;
    let key = Region::new(key, len).of(memory)?;
    if !is_allowed(key, &[]) {
        return Ok(INVALID);
    }
    match guest.environment.state.add(key, delta, ttl(ttl_ms), Instant::now()) {
        Ok(sum) => out.fill(memory, &sum.to_le_bytes()).map(|_| 0).map_err(Into::into),
        Err(AddError::NotANumber) => Ok(INVALID),
        Err(AddError::Quota) => Ok(QUOTA),
    }
}

pub(super) fn remove(mut caller: Caller<'_, Guest>, key: u32, len: u32) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let key = Region::new(key, len).of(memory)?;
    // A key that cannot be there is not looked for: hashing one takes time by its length.
    if !is_allowed(key, &[]) {
        return Ok(0);
    }
    Ok(i32::from(guest.environment.state.remove(key, Instant::now())))
}

fn is_allowed(key: &[u8], value: &[u8]) -> bool {
    !key.is_empty() && key.len() <= MAX_KEY && value.len() <= MAX_VALUE
}

fn ttl(ttl_ms: u64) -> Option<Duration> {
    (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms))
}
