//! Which header names a message may hold, as a set of 64 bits: a Bloom filter of one hash.
//!
//! Many filters ask for headers that most requests do not have, and to walk a message costs as much as the rest of such a
//! filter. The set is the message's first field, with the place where the headers begin.
//!
//! **Invariant:** a header that the message holds is in the set; one that it does not hold rarely is.

use crate::{tag, wire::FIELD_HEADER};

const PAYLOAD: usize = size_of::<u64>() + size_of::<u32>();

/// A set of header names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderNames(u64);

impl HeaderNames {
    /// Adds a name.
    #[inline]
    pub fn add(&mut self, name: &[u8]) {
        self.0 |= Self::bit_of(name);
    }

    /// A message's first field; the first header stands `skip` bytes behind it.
    #[must_use]
    pub fn field(self, skip: u32) -> [u8; FIELD_HEADER + PAYLOAD] {
        let mut field = [0; FIELD_HEADER + PAYLOAD];
        let (head, payload) = field.split_at_mut(FIELD_HEADER);
        head[..2].copy_from_slice(&tag::HEADER_NAMES.to_le_bytes());
        head[2] = PAYLOAD as u8;
        payload[..8].copy_from_slice(&self.0.to_le_bytes());
        payload[8..].copy_from_slice(&skip.to_le_bytes());
        field
    }

    /// The fields of `message` that may be headers of that name, in any case: none of them if its set does not have the
    /// name, all fields if there is no set.
    #[inline]
    #[must_use]
    pub fn fields_with<'a>(name: &[u8], message: &'a [u8]) -> &'a [u8] {
        let Some((field, rest)) = message.split_first_chunk::<{ FIELD_HEADER + PAYLOAD }>() else { return message };
        let [low, high, 12, 0, 0, 0, names @ .., a, b, c, d] = *field else { return message };
        if u16::from_le_bytes([low, high]) != tag::HEADER_NAMES {
            return message;
        }
        if u64::from_le_bytes(names) & Self::bit_of(name) == 0 {
            return &[];
        }
        rest.get(u32::from_le_bytes([a, b, c, d]) as usize..).unwrap_or_default()
    }

    /// The bit of a name, whatever the case of its letters: `1 << (19 n + 9 a + 5 m + 25 z) % 64` of its length `n`
    /// and of its first, its middle (at `n / 2`) and its last byte, each with bit 5 set; of an empty name 1. The factors
    /// keep what filters often ask for apart from what browsers send.
    ///
    /// ```
    /// use meshup_abi::HeaderNames;
    ///
    /// assert_eq!(HeaderNames::bit_of(b"Accept"), HeaderNames::bit_of(b"accept"));
    /// assert_eq!(HeaderNames::bit_of(b"accept"), 1 << 40);
    /// ```
    #[inline]
    #[must_use]
    pub fn bit_of(name: &[u8]) -> u64 {
        let (Some(first), Some(middle), Some(last)) = (name.first(), name.get(name.len() / 2), name.last()) else {
            return 1;
        };
        let [first, middle, last] = [first, middle, last].map(|byte| u32::from(byte | 0x20));
        let hash = (name.len() as u32).wrapping_mul(19).wrapping_add(9 * first + 5 * middle + 25 * last);
        1 << (hash % 64)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const FIELDS: &[u8] = b"first fields, headers";

    fn message(names: HeaderNames, skip: u32) -> Vec<u8> {
        [&names.field(skip), FIELDS].concat()
    }

    #[test]
    fn what_was_added_is_found_in_any_case_behind_what_comes_first() {
        let mut names = HeaderNames::default();
        for name in [&b"accept"[..], b"x-request-id", b"a", b"", b"_^`|~"] {
            let other = b"traceparent";
            assert_eq!(HeaderNames::fields_with(other, &message(names, 0)), b"");
            names.add(name);
            let message = message(names, 14);
            assert_eq!(HeaderNames::fields_with(name, &message), b"headers");
            assert_eq!(HeaderNames::fields_with(&name.to_ascii_uppercase(), &message), b"headers");
        }
    }

    #[test]
    fn a_message_without_a_set_may_hold_every_name() {
        let names = HeaderNames::default().field(0);
        let longer = [&[names[0], names[1], 13, 0, 0, 0], &[0; 13][..]].concat();
        let other = [&[1, 0], &names[2..]].concat();
        for message in [FIELDS, b"", &names[..names.len() - 1], &longer, &other] {
            assert_eq!(HeaderNames::fields_with(b"accept", message), message);
        }
    }

    #[test]
    fn headers_that_begin_behind_the_end_are_none() {
        let mut names = HeaderNames::default();
        names.add(b"accept");
        assert_eq!(HeaderNames::fields_with(b"accept", &message(names, u32::MAX)), b"");
    }
}
