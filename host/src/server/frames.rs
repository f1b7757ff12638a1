//! The frames of an HTTP/2 connection, as far as their heads tell: that settings come first, that what carries no work
//! stays within its budget, and how many streams the library refused, which it tells nobody.
//!
//! It keeps, copies and changes no frame, and knows no stream: what else a frame means is the HTTP/2 library's. That library
//! bounds the memory of floods, but ends none of SETTINGS, PING, PRIORITY, WINDOW_UPDATE or unknown frames. There is no call
//! to have it say GOAWAY and why, so once the budget is spent it reads, in place of what the client sends, a header block
//! of more pieces than it takes.
//!
//! **Invariant:** the library gets whole frames of the client, then perhaps that block, and nothing in between.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::io::ReadBuf;

use super::preface::PREFACE;

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const REFUSED_STREAM: u32 = 7;

/// A header block that goes on without end: its beginning, then this piece again and again. It never becomes a request,
/// so that its stream may be any.
const BLOCK: [u8; HEAD] = [0, 0, 0, HEADERS, 0, 0, 0, 0, 1];
const PIECE: [u8; HEAD] = [0, 0, 0, CONTINUATION, 0, 0, 0, 0, 1];

/// What a request's head gives back: Envoy grants each stream as many PRIORITY frames.
const PER_HEADERS: u32 = 100;
/// What a part of a body gives back, in either direction, beside its bytes: Envoy grants a client as many WINDOW_UPDATEs.
/// gRPC clients send up to one PING each.
const PER_DATA: u32 = 20;
/// So many bytes are worth a frame: some clients tell of each few hundred bytes that they read, twice.
const BYTES: u32 = 256;
/// In how long time alone gives back all of the budget.
const REFILL: Duration = Duration::from_secs(30);

/// What both directions of a connection carry.
#[derive(Debug)]
pub(super) struct Frames {
    read: Walk,
    written: Walk,
    budget: Budget,
    settled: bool,
    /// The code of a reset that is being written, as far as it is.
    reset: Option<u32>,
    /// How much was read of the block without end, once the budget is spent.
    spent: Option<usize>,
}

impl Frames {
    /// Before the preface, with a budget of so many frames.
    pub(super) fn new(max_control_frames: u32) -> Self {
        Self {
            read: Walk::behind(PREFACE.len()),
            written: Walk::behind(0),
            budget: Budget::new(max_control_frames),
            settled: false,
            reset: None,
            spent: None,
        }
    }

    /// Looks at what came next; how much of it may be handed on. The rest is behind the frame that was too much.
    ///
    /// # Errors
    /// The first frame is not SETTINGS.
    #[inline]
    pub(super) fn inspect(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while self.spent.is_none()
            && let Some(head) = self.read.next(&mut rest)
        {
            self.admit(head)?;
        }
        self.read.skip(&mut rest);
        Ok(bytes.len() - rest.len())
    }

    fn admit(&mut self, head: Head) -> io::Result<()> {
        if !self.settled && head.kind != SETTINGS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP/2 without settings"));
        }
        self.settled = true;
        match head.kind {
            // The library bounds how many there are to a block.
            CONTINUATION => {}
            HEADERS => self.budget.give(PER_HEADERS),
            DATA if head.length > 0 => self.budget.give(PER_DATA + head.length / BYTES),
            _ if self.budget.take(1 + head.length / BYTES) => {}
            _ => self.spent = Some(0),
        }
        Ok(())
    }

    /// Whether nothing more of the client is handed on.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.is_some() && self.read.is_between()
    }

    /// Reads on in the block without end.
    #[cold]
    pub(super) fn put_block(&mut self, buf: &mut ReadBuf<'_>) {
        let Some(put) = &mut self.spent else { return };
        while buf.remaining() > 0 {
            let frame = if *put < HEAD { BLOCK } else { PIECE };
            let part = frame.get(*put % HEAD..).unwrap_or_default();
            let part = part.get(..buf.remaining()).unwrap_or(part);
            buf.put_slice(part);
            *put += part.len();
        }
    }

    /// Looks at the first `len` bytes of `slices`, which were written next; how many streams they refuse.
    #[inline]
    pub(super) fn wrote(&mut self, slices: &[io::IoSlice<'_>], mut len: usize) -> usize {
        let mut refused = 0;
        for slice in slices {
            let written = slice.get(..len).unwrap_or(slice);
            refused += self.follow(written);
            len -= written.len();
        }
        refused
    }

    fn follow(&mut self, mut bytes: &[u8]) -> usize {
        let mut refused = 0;
        loop {
            refused += usize::from(self.reset.is_some() && self.end_reset(&mut bytes) == Some(REFUSED_STREAM));
            let Some(head) = self.written.next(&mut bytes) else { return refused };
            match head.kind {
                DATA if head.length > 0 => self.budget.give(PER_DATA + head.length / BYTES),
                RST_STREAM => self.reset = Some(0),
                _ => {}
            }
        }
    }

    /// The code of a reset, once it is complete.
    fn end_reset(&mut self, bytes: &mut &[u8]) -> Option<u32> {
        let code = self.written.skip(bytes).iter().fold(self.reset?, |code, byte| code << 8 | u32::from(*byte));
        self.reset = (!self.written.is_between()).then_some(code);
        self.reset.is_none().then_some(code)
    }
}

/// How many frames without work may still come.
#[derive(Debug)]
struct Budget {
    left: u32,
    limit: u32,
    /// When time last gave something back.
    filled: Instant,
}

impl Budget {
    fn new(limit: u32) -> Self {
        Self { left: limit, limit, filled: Instant::now() }
    }

    fn give(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(self.limit);
    }

    fn take(&mut self, frames: u32) -> bool {
        if self.left < frames {
            self.give_for_time(Instant::now());
        }
        let left = self.left.checked_sub(frames);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// The clock is looked at only when nothing else is left.
    #[cold]
    fn give_for_time(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).min(REFILL);
        let earned = u128::from(self.limit) * passed.as_micros() / REFILL.as_micros();
        self.give(u32::try_from(earned).unwrap_or(self.limit));
        self.filled = now;
    }
}

/// What a frame's head says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    length: u32,
    kind: u8,
}

impl Head {
    fn of([a, b, c, kind, ..]: [u8; HEAD]) -> Self {
        Self { length: u32::from_be_bytes([0, a, b, c]), kind }
    }
}

/// A way through one direction's bytes from head to head.
#[derive(Debug)]
struct Walk {
    /// Of the payload, or of what comes before the first frame.
    ahead: usize,
    head: [u8; HEAD],
    /// How much of `head` there is.
    have: usize,
}

impl Walk {
    fn behind(ahead: usize) -> Self {
        Self { ahead, head: [0; HEAD], have: 0 }
    }

    /// The next head that is complete within `bytes`, which begin behind it then.
    #[inline]
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        self.skip(bytes);
        let head = match bytes.split_first_chunk() {
            Some((head, rest)) if self.have == 0 => {
                *bytes = rest;
                Head::of(*head)
            }
            _ => self.piece_together(bytes)?,
        };
        self.ahead = head.length as usize;
        Some(head)
    }

    /// Leaves out what is no head, and tells what that was.
    #[inline]
    fn skip<'a>(&mut self, bytes: &mut &'a [u8]) -> &'a [u8] {
        let (skipped, rest) = bytes.split_at_checked(self.ahead).unwrap_or((bytes, &[]));
        self.ahead -= skipped.len();
        *bytes = rest;
        skipped
    }

    /// A head that comes in several reads.
    fn piece_together(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        while self.have < HEAD {
            let (byte, rest) = bytes.split_first()?;
            *self.head.get_mut(self.have)? = *byte;
            (self.have, *bytes) = (self.have + 1, rest);
        }
        self.have = 0;
        Some(Head::of(self.head))
    }

    /// Whether a frame ended and no byte of the next has come.
    fn is_between(&self) -> bool {
        self.ahead == 0 && self.have == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, 0, 0, 0, 0, 1][..], &vec![kind; usize::from(length)]].concat()
    }

    /// What is handed on of `said` when it is read so many bytes at once.
    fn handed_on(limit: u32, said: &[u8], at_once: usize) -> io::Result<usize> {
        let mut frames = Frames::new(limit);
        let mut all = 0;
        for bytes in said.chunks(at_once) {
            if !frames.is_spent() {
                all += frames.inspect(bytes)?;
            }
        }
        Ok(all)
    }

    #[test]
    fn settings_come_first_and_only_first() {
        let sound = [PREFACE.to_vec(), frame(SETTINGS, 6), frame(HEADERS, 3)].concat();
        let other = [PREFACE.to_vec(), frame(HEADERS, 3), frame(SETTINGS, 6)].concat();
        for at_once in 1..sound.len() {
            assert_eq!(handed_on(9, &sound, at_once).unwrap(), sound.len(), "{at_once}");
            assert!(handed_on(9, &other, at_once).is_err(), "{at_once}");
        }
    }

    #[test]
    fn what_is_beyond_the_budget_is_not_handed_on_however_it_is_cut() {
        let allowed = [PREFACE.to_vec(), frame(SETTINGS, 0), frame(DATA, 0), frame(PING, 8)].concat();
        let said = [&allowed[..], &frame(PING, 8), &frame(PING, 8)].concat();
        for at_once in 1..said.len() {
            assert_eq!(handed_on(2, &said, at_once).unwrap(), allowed.len(), "{at_once}");
            assert_eq!(handed_on(5, &said, at_once).unwrap(), said.len(), "{at_once}");
        }
    }

    #[test]
    fn work_gives_back_what_was_spent() {
        for work in [frame(HEADERS, 9), frame(DATA, 1)] {
            let said = [PREFACE.to_vec(), frame(SETTINGS, 0), [work, frame(PING, 8)].concat().repeat(9)].concat();
            assert_eq!(handed_on(1, &said, said.len()).unwrap(), said.len());
        }
        let mut frames = Frames::new(1);
        for (written, left) in [(frame(DATA, 0), 0), (frame(SETTINGS, 200), 0), (frame(DATA, 4), 1)] {
            frames.budget.left = 0;
            let refused = written.chunks(7).map(|bytes| frames.follow(bytes));
            assert_eq!(refused.sum::<usize>(), 0);
            assert_eq!(frames.budget.left, left);
        }
    }

    #[test]
    fn only_what_was_written_counts() {
        let mut frames = Frames::new(1);
        frames.budget.left = 0;
        let (first, second) = (frame(PING, 8), frame(DATA, 4));
        frames.wrote(&[io::IoSlice::new(&first), io::IoSlice::new(&second)], first.len() + 3);
        assert_eq!(frames.budget.left, 0);
        frames.wrote(&[io::IoSlice::new(&second[3..])], second.len() - 3);
        assert_eq!(frames.budget.left, 1);
    }

    #[test]
    fn refused_streams_are_counted_however_they_are_written() {
        let reset = |code: u32| [&[0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1][..], &code.to_be_bytes()].concat();
        let written = [reset(7), frame(DATA, 7), reset(8), reset(7 << 8), reset(7), reset(7)].concat();
        for at_once in 1..written.len() {
            let mut frames = Frames::new(1);
            let refused = written.chunks(at_once).map(|bytes| frames.follow(bytes));
            assert_eq!(refused.sum::<usize>(), 3, "{at_once}");
        }
    }

    #[test]
    fn a_large_frame_costs_more() {
        let mut budget = Budget::new(10);
        assert!(budget.take(9) && !budget.take(2) && budget.take(1));
    }

    #[test]
    fn time_gives_back_no_more_than_all() {
        let mut budget = Budget::new(300);
        let begun = budget.filled;
        budget.left = 0;
        budget.give_for_time(begun + Duration::from_secs(1));
        assert_eq!(budget.left, 10);
        budget.give_for_time(begun + Duration::from_secs(1));
        assert_eq!(budget.left, 10);
        budget.give_for_time(begun + Duration::from_secs(3600));
        assert_eq!(budget.left, 300);
    }

    #[test]
    fn the_block_is_the_same_however_it_is_read() {
        let expected = [BLOCK, PIECE, PIECE].concat();
        for at_once in 1..expected.len() {
            let mut frames = Frames::new(0);
            frames.spent = Some(0);
            let mut read = Vec::new();
            while read.len() < expected.len() {
                let mut room = vec![0; at_once];
                frames.put_block(&mut ReadBuf::new(&mut room));
                read.extend(room);
            }
            assert!(read.starts_with(&expected), "{at_once}");
        }
    }
}
