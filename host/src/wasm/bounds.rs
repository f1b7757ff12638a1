//! Guest addresses: the one place that turns an address and a length from a guest into a slice of its memory.
//!
//! It knows nothing of what the bytes mean.
//!
//! **Invariant:** no other module indexes guest memory.

/// An address and a length as a guest gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) address: u32,
    pub(super) len: u32,
}

impl Region {
    pub(super) const fn new(address: u32, len: u32) -> Self {
        Self { address, len }
    }

    /// The region in a guest function's packed result.
    pub(super) const fn unpack(packed: u64) -> Self {
        let (address, len) = meshup_abi::unpack(packed);
        Self { address, len }
    }

    /// The bytes of the region.
    #[inline]
    pub(super) fn of(self, memory: &[u8]) -> Result<&[u8], OutOfBounds> {
        let size = memory.len();
        memory.get(self.start()..self.end()).ok_or(OutOfBounds { region: self, size })
    }

    /// The bytes of the region, to be written.
    #[inline]
    pub(super) fn of_mut(self, memory: &mut [u8]) -> Result<&mut [u8], OutOfBounds> {
        let size = memory.len();
        memory.get_mut(self.start()..self.end()).ok_or(OutOfBounds { region: self, size })
    }

    /// Writes `value` when the region holds it, and tells its whole length either way.
    pub(super) fn fill(self, memory: &mut [u8], value: &[u8]) -> Result<i32, OutOfBounds> {
        let room = self.of_mut(memory)?;
        if let Some(room) = room.get_mut(..value.len()) {
            room.copy_from_slice(value);
        }
        Ok(i32::try_from(value.len()).unwrap_or(i32::MAX))
    }

    fn start(self) -> usize {
        self.address as usize
    }

    /// Cannot overflow: usize has 64 bits, see the assertion below.
    fn end(self) -> usize {
        self.start() + self.len as usize
    }
}

const _: () = assert!(usize::BITS >= 64, "the sum of two u32 must fit usize");

/// A guest named bytes outside its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} bytes at address {:#x} lie outside the memory of {size} bytes", region.len, region.address)]
pub(super) struct OutOfBounds {
    region: Region,
    size: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_at_and_over_the_edge() {
        let memory = [7; 64];
        let cases = [(0, 64, true), (64, 0, true), (63, 1, true), (63, 2, false), (65, 0, false)];
        for (address, len, inside) in cases {
            assert_eq!(Region::new(address, len).of(&memory).is_ok(), inside, "{address}+{len}");
        }
        assert!(Region::new(u32::MAX, u32::MAX).of(&memory).is_err());
        assert!(Region::new(1, u32::MAX).of(&memory).is_err());
    }

    #[test]
    fn fill_writes_all_or_nothing() {
        let mut memory = [0; 8];
        assert_eq!(Region::new(0, 3).fill(&mut memory, b"abcd"), Ok(4));
        assert_eq!(memory, [0; 8]);
        assert_eq!(Region::new(0, 4).fill(&mut memory, b"abcd"), Ok(4));
        assert_eq!(&memory[..5], b"abcd\0");
    }
}
