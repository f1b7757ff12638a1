//! Memory allocations of this process, counted and, when asked, recorded with where they come from.
//!
//! **Invariant:** what is counted is what `meshup::Allocator` is asked for; recording counts nothing of its own.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::{
    alloc::{GlobalAlloc, Layout},
    backtrace::Backtrace,
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

static NEW: AtomicU64 = AtomicU64::new(0);
static GROWN: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static RECORDING: AtomicBool = AtomicBool::new(false);
static RECORDED: Mutex<Vec<Recorded>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread is recording an allocation, which allocates.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// One allocation and who asked for it.
pub(crate) struct Recorded {
    pub(crate) bytes: usize,
    pub(crate) asked_by: Backtrace,
}

/// New blocks, blocks that were made larger or smaller, and the bytes of both, since the process began.
pub(crate) fn counts() -> [u64; 3] {
    [&NEW, &GROWN, &BYTES].map(|count| count.load(Relaxed))
}

/// Records from here on.
pub(crate) fn record() {
    RECORDING.store(true, Relaxed);
}

/// What was recorded; recording ends.
pub(crate) fn recorded() -> Vec<Recorded> {
    RECORDING.store(false, Relaxed);
    std::mem::take(&mut RECORDED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The allocator of the `meshup` binary, with a counter in front.
pub(crate) struct Counting;

fn count(kind: &AtomicU64, bytes: usize) {
    if BUSY.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    kind.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
    if RECORDING.load(Relaxed) {
        BUSY.set(true);
        let recorded = Recorded { bytes, asked_by: Backtrace::force_capture() };
        RECORDED.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
        BUSY.set(false);
    }
}

// SAFETY: every call is handed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&NEW, layout.size());
        // SAFETY: see the trait's implementation.
        unsafe { meshup::Allocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&NEW, layout.size());
        // SAFETY: see the trait's implementation.
        unsafe { meshup::Allocator.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: see the trait's implementation.
        unsafe { meshup::Allocator.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&GROWN, size);
        // SAFETY: see the trait's implementation.
        unsafe { meshup::Allocator.realloc(block, layout, size) }
    }
}
