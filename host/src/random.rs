//! A small, fast generator for choices that need no secrecy: balancing, weights, jitter. One per user and thread.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// xorshift64* (Vigna 2016), seeded by the operating system.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new() -> Self {
        Self(Cell::new(RandomState::new().hash_one(0u8) | 1))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        // Multiply-shift (Lemire 2019): the bias is below 2^-32 for the small bounds here.
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }
}
