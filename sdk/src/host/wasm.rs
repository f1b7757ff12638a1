//! The host's functions as imports of a filter module.
//!
//! **Invariant:** every pointer handed out is of a live Rust slice, with that slice's length.
#![allow(unsafe_code, reason = "calling imports is unsafe")]

use std::cell::RefCell;

use meshup_abi::{Attribute, Level, MetricKind, MetricOp, MetricRecord, Signature};

/// How many values wait at most.
const RECORDS_AT_ONCE: usize = 64;

thread_local! {
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

mod import {
    #[link(wasm_import_module = "meshup")]
    unsafe extern "C" {
        pub(super) fn log(level: u32, text: *const u8, len: usize);
        pub(super) fn now_unix() -> u64;
        pub(super) fn now_monotonic() -> u64;
        pub(super) fn random(out: *mut u8, len: usize);
        pub(super) fn metric_series(kind: u32, message: *const u8, len: usize) -> i32;
        pub(super) fn metric_records(records: *const u8, len: usize) -> i32;
        pub(super) fn attribute(attribute: u32, out: *mut u8, capacity: usize) -> i32;
        pub(super) fn variable(name: *const u8, len: usize, out: *mut u8, capacity: usize) -> i32;
        pub(super) fn set_variable(name: *const u8, len: usize, value: *const u8, value_len: usize) -> i32;
        pub(super) fn state_get(key: *const u8, len: usize, out: *mut u8, capacity: usize) -> i32;
        pub(super) fn state_set(key: *const u8, len: usize, value: *const u8, value_len: usize, ttl_ms: u64) -> i32;
        pub(super) fn state_compare_and_swap(
            key: *const u8,
            len: usize,
            expected: *const u8,
            expected_len: u32,
            value: *const u8,
            value_len: usize,
            ttl_ms: u64,
        ) -> i32;
        pub(super) fn state_add(key: *const u8, len: usize, delta: i64, ttl_ms: u64, out: *mut u8) -> i32;
        pub(super) fn state_remove(key: *const u8, len: usize) -> i32;
        pub(super) fn sha256(data: *const u8, len: usize, out: *mut u8);
        pub(super) fn hmac_sha256(key: *const u8, key_len: usize, data: *const u8, len: usize, out: *mut u8);
        pub(super) fn verify(
            algorithm: u32,
            key: *const u8,
            key_len: usize,
            data: *const u8,
            len: usize,
            signature: *const u8,
            signature_len: usize,
        ) -> i32;
    }
}

pub(crate) fn log(level: Level, text: &str) {
    // SAFETY: the host reads `text` and keeps nothing.
    unsafe { import::log(level.code(), text.as_ptr(), text.len()) }
}

pub(crate) fn now_unix() -> u64 {
    // SAFETY: no memory is involved.
    unsafe { import::now_unix() }
}

pub(crate) fn now_monotonic() -> u64 {
    // SAFETY: no memory is involved.
    unsafe { import::now_monotonic() }
}

pub(crate) fn random(out: &mut [u8]) {
    // SAFETY: the host writes `out.len()` bytes to `out`.
    unsafe { import::random(out.as_mut_ptr(), out.len()) }
}

pub(crate) fn metric_series(kind: MetricKind, message: &[u8]) -> i32 {
    // SAFETY: the host reads `message`.
    unsafe { import::metric_series(kind.code(), message.as_ptr(), message.len()) }
}

/// Remembers a value until [`hand_over_records`].
pub(crate) fn metric_record(series: i32, op: MetricOp, value: f64) {
    let full = RECORDS.with_borrow_mut(|records| {
        records.extend_from_slice(&MetricRecord { series, op, value }.to_bytes());
        records.len() >= RECORDS_AT_ONCE * MetricRecord::BYTES
    });
    if full {
        hand_over_records();
    }
}

/// Records what an event brought by one call, for each costs about as much as what it does.
pub(crate) fn hand_over_records() {
    RECORDS.with_borrow_mut(|records| {
        if !records.is_empty() {
            // SAFETY: the host reads `records`.
            unsafe { import::metric_records(records.as_ptr(), records.len()) };
            records.clear();
        }
    });
}

pub(crate) fn attribute(attribute: Attribute, out: &mut [u8]) -> i32 {
    // SAFETY: the host writes at most `out.len()` bytes to `out`.
    unsafe { import::attribute(attribute.code(), out.as_mut_ptr(), out.len()) }
}

pub(crate) fn variable(name: &str, out: &mut [u8]) -> i32 {
    // SAFETY: the host reads `name` and writes at most `out.len()` bytes to `out`.
    unsafe { import::variable(name.as_ptr(), name.len(), out.as_mut_ptr(), out.len()) }
}

pub(crate) fn set_variable(name: &str, value: &[u8]) -> i32 {
    // SAFETY: the host reads `name` and `value`.
    unsafe { import::set_variable(name.as_ptr(), name.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn state_get(key: &str, out: &mut [u8]) -> i32 {
    // SAFETY: the host reads `key` and writes at most `out.len()` bytes to `out`.
    unsafe { import::state_get(key.as_ptr(), key.len(), out.as_mut_ptr(), out.len()) }
}

pub(crate) fn state_set(key: &str, value: &[u8], ttl_ms: u64) -> i32 {
    // SAFETY: the host reads `key` and `value`.
    unsafe { import::state_set(key.as_ptr(), key.len(), value.as_ptr(), value.len(), ttl_ms) }
}

pub(crate) fn state_compare_and_swap(key: &str, expected: Option<&[u8]>, value: &[u8], ttl_ms: u64) -> i32 {
    let (expected, expected_len) =
        expected.map_or((std::ptr::null(), u32::MAX), |old| (old.as_ptr(), old.len() as u32));
    // SAFETY: the host reads `key`, `value` and, where there is one, `expected`.
    unsafe {
        import::state_compare_and_swap(
            key.as_ptr(),
            key.len(),
            expected,
            expected_len,
            value.as_ptr(),
            value.len(),
            ttl_ms,
        )
    }
}

pub(crate) fn state_add(key: &str, delta: i64, ttl_ms: u64, out: &mut [u8; 8]) -> i32 {
    // SAFETY: the host reads `key` and writes 8 bytes to `out`.
    unsafe { import::state_add(key.as_ptr(), key.len(), delta, ttl_ms, out.as_mut_ptr()) }
}

pub(crate) fn state_remove(key: &str) -> i32 {
    // SAFETY: the host reads `key`.
    unsafe { import::state_remove(key.as_ptr(), key.len()) }
}

pub(crate) fn sha256(data: &[u8], out: &mut [u8; 32]) {
    // SAFETY: the host reads `data` and writes 32 bytes to `out`.
    unsafe { import::sha256(data.as_ptr(), data.len(), out.as_mut_ptr()) }
}

pub(crate) fn hmac_sha256(key: &[u8], data: &[u8], out: &mut [u8; 32]) {
    // SAFETY: the host reads `key` and `data` and writes 32 bytes to `out`.
    unsafe { import::hmac_sha256(key.as_ptr(), key.len(), data.as_ptr(), data.len(), out.as_mut_ptr()) }
}

pub(crate) fn verify(algorithm: Signature, key: &[u8], data: &[u8], signature: &[u8]) -> i32 {
    // SAFETY: the host reads `key`, `data` and `signature`.
    unsafe {
        import::verify(
            algorithm.code(),
            key.as_ptr(),
            key.len(),
            data.as_ptr(),
            data.len(),
            signature.as_ptr(),
            signature.len(),
        )
    }
}
