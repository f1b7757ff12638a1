//! Byte buffers that are used again: messages and change lists of finished exchanges serve the next ones.
//!
//! It is not an allocator: a buffer that grew large is given back to the system.
//!
//! **Invariant:** the pool holds a bounded number of bounded buffers.

use std::{cell::RefCell, mem, ops::Deref};

const MAX_POOLED: usize = 64;
const MAX_POOLED_CAPACITY: usize = 64 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that return to the pool when dropped.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) const EMPTY: Self = Self(Vec::new());

    /// An empty vector, with the capacity of an earlier one where there is one.
    pub(crate) fn pooled() -> Vec<u8> {
        POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// How much it holds, if it is to serve again.
    #[cfg(target_family = "wasm")]
    pub(crate) fn reusable_capacity(&self) -> usize {
        if self.0.capacity() > MAX_POOLED_CAPACITY { 0 } else { self.0.capacity() }
    }

    /// The bytes, to append to.
    #[inline]
    pub(crate) fn writable(&mut self) -> &mut Vec<u8> {
        if self.0.capacity() == 0 {
            self.0 = Self::pooled();
        }
        &mut self.0
    }
}

impl From<Vec<u8>> for Buffer {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if self.0.capacity() > 0 {
            recycle(mem::take(&mut self.0));
        }
    }
}

pub(crate) fn recycle(mut bytes: Vec<u8>) {
    if bytes.capacity() > MAX_POOLED_CAPACITY {
        return;
    }
    // The pool may be gone already when a native test's thread ends.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < MAX_POOLED {
            bytes.clear();
            pool.push(bytes);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_serves_again_without_its_bytes() {
        let mut buffer = Buffer::EMPTY;
        buffer.writable().extend_from_slice(&[7; 100]);
        let address = buffer.as_ptr();
        drop(buffer);
        let again = Buffer::pooled();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
    }

    #[test]
    fn large_buffers_and_surplus_ones_are_not_kept() {
        drop(Buffer::from(Vec::with_capacity(MAX_POOLED_CAPACITY + 1)));
        (0..2 * MAX_POOLED).map(|_| Buffer::from(vec![0; 8])).collect::<Vec<_>>().clear();
        assert_eq!(POOL.with_borrow(Vec::len), MAX_POOLED);
        assert!(POOL.with_borrow(|pool| pool.iter().all(|bytes| bytes.capacity() <= MAX_POOLED_CAPACITY)));
    }
}
