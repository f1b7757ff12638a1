//! The process's memory allocator: mimalloc.
//!
//! The crate `mimalloc` asks it for an alignment with every block, which costs a detour for each that is not a power of
//! two in size. Nearly all blocks need no more than what every block has.
//!
//! **Invariant:** a block has the alignment that its layout asks for.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mi;

/// mimalloc, for `#[global_allocator]`.
#[derive(Debug, Clone, Copy)]
pub struct Allocator;

/// Gives memory that this thread has freed back to the system, where whole pages of it are free for a while. By itself
/// mimalloc does that in passing, when it is asked for memory: an idle thread asks for none.
pub(crate) fn give_back() {
    // SAFETY: it may be called at any time, also where another allocator is in use.
    unsafe { mi::mi_collect(false) }
}

/// The same for the C library's allocator, which the cryptography uses: for the whole process, and not for free.
pub(crate) fn give_back_of_c() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// mimalloc gives blocks of a size below 16 bytes the alignment of their size, and all others 16 at least.
const fn is_natural(layout: Layout) -> bool {
    layout.align() <= 16 && layout.align() <= layout.size()
}

// SAFETY: mimalloc gives blocks of the size asked for that belong to the caller alone, or null; `is_natural` tells those
// whose alignment it gives unasked, and the others are asked for with theirs. Sizes are not 0, as the trait demands.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see the trait's implementation.
        let block = unsafe {
            if is_natural(layout) {
                mi::mi_malloc(layout.size())
            } else {
                mi::mi_malloc_aligned(layout.size(), layout.align())
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see the trait's implementation.
        let block = unsafe {
            if is_natural(layout) {
                mi::mi_zalloc(layout.size())
            } else {
                mi::mi_zalloc_aligned(layout.size(), layout.align())
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block is one that this allocator gave.
        unsafe { mi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let natural = layout.align() <= 16 && layout.align() <= size;
        // SAFETY: the block is one that this allocator gave; for the alignment see the trait's implementation.
        let block = unsafe {
            if natural {
                mi::mi_realloc(block.cast(), size)
            } else {
                mi::mi_realloc_aligned(block.cast(), size, layout.align())
            }
        };
        block.cast()
    }
}
