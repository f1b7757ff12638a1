//! Writing and reading the fields of a message.

use alloc::vec::Vec;
use core::fmt;

use crate::headers;

pub(crate) const FIELD_HEADER: usize = 6;
const PAIR_HEADER: usize = 4;
/// What opens an answer.
const VERDICT: usize = 4;

/// Something a message can be written to.
pub trait Sink {
    /// Appends the parts one after the other, all or none: one look at the room that is left, whatever their number.
    ///
    /// # Errors
    /// [`Overflow`] when they do not fit.
    fn put<const N: usize>(&mut self, parts: [&[u8]; N]) -> Result<(), Overflow>;
}

impl Sink for Vec<u8> {
    #[inline]
    fn put<const N: usize>(&mut self, parts: [&[u8]; N]) -> Result<(), Overflow> {
        // A vector takes everything, so there is no room to look at first.
        for part in parts {
            self.extend_from_slice(part);
        }
        Ok(())
    }
}

#[inline]
fn total(parts: &[&[u8]]) -> Result<usize, Overflow> {
    parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.len())).ok_or(Overflow)
}

/// A sink over a fixed slice, such as a region of a guest's memory.
#[derive(Debug)]
pub struct SliceSink<'a> {
    slice: &'a mut [u8],
    len: usize,
}

impl<'a> SliceSink<'a> {
    /// An empty message at the start of `slice`.
    #[must_use]
    pub fn new(slice: &'a mut [u8]) -> Self {
        Self { slice, len: 0 }
    }

    /// The bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.len
    }
}

impl Sink for SliceSink<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, parts: [&[u8]; N]) -> Result<(), Overflow> {
        let end = self.len.checked_add(total(&parts)?).ok_or(Overflow)?;
        let mut room = self.slice.get_mut(self.len..end).ok_or(Overflow)?;
        for part in parts {
            let (here, rest) = room.split_at_mut_checked(part.len()).ok_or(Overflow)?;
            here.copy_from_slice(part);
            room = rest;
        }
        self.len = end;
        Ok(())
    }
}

/// The message does not fit its sink, or one field exceeds 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("message does not fit its buffer")
    }
}

impl core::error::Error for Overflow {}

/// Writes fields to a sink.
#[derive(Debug)]
pub struct Writer<'a, S: Sink> {
    sink: &'a mut S,
}

impl<'a, S: Sink> Writer<'a, S> {
    /// A writer that appends to `sink`.
    #[must_use]
    pub fn new(sink: &'a mut S) -> Self {
        Self { sink }
    }

    /// The `u32` verdict that opens an answer message.
    ///
    /// # Errors
    /// [`Overflow`] when the sink is full, as for every method here.
    #[inline]
    pub fn verdict(&mut self, verdict: crate::Verdict) -> Result<(), Overflow> {
        self.sink.put([&verdict.code().to_le_bytes()])
    }

    /// The same, and behind it where the next message may be written, [packed](crate::pack).
    ///
    /// # Errors
    /// [`Overflow`].
    #[inline]
    pub fn verdict_and_buffer(&mut self, verdict: crate::Verdict, buffer: u64) -> Result<(), Overflow> {
        let mut opening = [0; VERDICT + FIELD_HEADER + size_of::<u64>()];
        let (head, packed) = opening.split_at_mut(VERDICT + FIELD_HEADER);
        let (code, head) = head.split_at_mut(VERDICT);
        code.copy_from_slice(&verdict.code().to_le_bytes());
        head.copy_from_slice(&field_header(crate::tag::BUFFER, packed.len())?);
        packed.copy_from_slice(&buffer.to_le_bytes());
        self.sink.put([&opening])
    }

    /// A field of raw bytes.
    ///
    /// # Errors
    /// [`Overflow`].
    #[inline]
    pub fn bytes(&mut self, tag: u16, payload: &[u8]) -> Result<(), Overflow> {
        self.sink.put([&field_header(tag, payload.len())?, payload])
    }

    /// A field of two byte strings.
    ///
    /// # Errors
    /// [`Overflow`].
    #[inline]
    pub fn pair(&mut self, tag: u16, name: &[u8], value: &[u8]) -> Result<(), Overflow> {
        let name_len = u32::try_from(name.len()).map_err(|_| Overflow)?;
        let len = PAIR_HEADER.checked_add(name.len()).and_then(|len| len.checked_add(value.len()));
        let mut head = [0; FIELD_HEADER + PAIR_HEADER];
        head[..FIELD_HEADER].copy_from_slice(&field_header(tag, len.ok_or(Overflow)?)?);
        head[FIELD_HEADER..].copy_from_slice(&name_len.to_le_bytes());
        self.sink.put([&head, name, value])
    }

    /// Fields that another writer wrote.
    ///
    /// # Errors
    /// [`Overflow`].
    #[inline]
    pub fn fields(&mut self, fields: &[u8]) -> Result<(), Overflow> {
        self.sink.put([fields])
    }

    /// A 16-bit field.
    ///
    /// # Errors
    /// [`Overflow`].
    #[inline]
    pub fn u16(&mut self, tag: u16, value: u16) -> Result<(), Overflow> {
        self.bytes(tag, &value.to_le_bytes())
    }

    /// A 32-bit field.
    ///
    /// # Errors
    /// [`Overflow`].
    #[inline]
    pub fn u32(&mut self, tag: u16, value: u32) -> Result<(), Overflow> {
        self.bytes(tag, &value.to_le_bytes())
    }

    /// A 64-bit field.
    ///
    /// # Errors
    /// [`Overflow`].
    #[inline]
    pub fn u64(&mut self, tag: u16, value: u64) -> Result<(), Overflow> {
        self.bytes(tag, &value.to_le_bytes())
    }

    /// A duration, in whole microseconds, rounded up so that a short one does not become none; saturating.
    ///
    /// # Errors
    /// [`Overflow`].
    pub fn duration(&mut self, tag: u16, value: core::time::Duration) -> Result<(), Overflow> {
        let micros = value.as_nanos().div_ceil(1000);
        self.u64(tag, u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[inline]
fn field_header(tag: u16, len: usize) -> Result<[u8; FIELD_HEADER], Overflow> {
    let [a, b, c, d] = u32::try_from(len).map_err(|_| Overflow)?.to_le_bytes();
    let [low, high] = tag.to_le_bytes();
    Ok([low, high, a, b, c, d])
}

/// A message that does not follow the format: why, and the offset of the field in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A field's header or payload runs past the end of the message.
    Truncated {
        /// Where in the message, bytes.
        offset: usize,
    },
    /// A field's payload has another length than its kind needs.
    Length {
        /// The field's tag.
        tag: u16,
        /// The payload's length, bytes.
        len: usize,
    },
    /// A text is not UTF-8.
    Text {
        /// The field's tag.
        tag: u16,
    },
    /// A number stands for nothing.
    Code(crate::UnknownCode),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset } => write!(f, "field at byte {offset} runs past the end of the message"),
            Self::Length { tag, len } => write!(f, "field {tag} has a payload of {len} bytes"),
            Self::Text { tag } => write!(f, "field {tag} is not UTF-8"),
            Self::Code(code) => code.fmt(f),
        }
    }
}

impl core::error::Error for Malformed {}

impl From<crate::UnknownCode> for Malformed {
    fn from(code: crate::UnknownCode) -> Self {
        Self::Code(code)
    }
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it is: a constant of [`tag`](crate::tag), or one of a later version.
    pub tag: u16,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl<'a> Field<'a> {
    /// The two byte strings of a pair.
    ///
    /// # Errors
    /// [`Malformed::Length`] when the payload is too short for the name it announces.
    #[inline]
    pub fn pair(&self) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let short = Malformed::Length { tag: self.tag, len: self.payload.len() };
        let (name_len, rest) = self.payload.split_first_chunk::<PAIR_HEADER>().ok_or(short)?;
        let name_len = u32::from_le_bytes(*name_len) as usize;
        rest.split_at_checked(name_len).ok_or(short)
    }

    /// The payload as text.
    ///
    /// # Errors
    /// [`Malformed::Text`].
    pub fn text(&self) -> Result<&'a str, Malformed> {
        core::str::from_utf8(self.payload).map_err(|_| Malformed::Text { tag: self.tag })
    }

    /// A 16-bit integer.
    ///
    /// # Errors
    /// [`Malformed::Length`] when the payload is not 2 bytes.
    pub fn u16(&self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// A 32-bit integer.
    ///
    /// # Errors
    /// [`Malformed::Length`] when the payload is not 4 bytes.
    pub fn u32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A 64-bit integer.
    ///
    /// # Errors
    /// [`Malformed::Length`] when the payload is not 8 bytes.
    pub fn u64(&self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A duration.
    ///
    /// # Errors
    /// [`Malformed::Length`] when the payload is not 8 bytes.
    pub fn duration(&self) -> Result<core::time::Duration, Malformed> {
        self.u64().map(core::time::Duration::from_micros)
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.payload.try_into().map_err(|_| Malformed::Length { tag: self.tag, len: self.payload.len() })
    }
}

/// Walks the fields of a message. Yields one error at most, then ends.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message, offset: 0 }
    }

    /// Blanks the headers of that name: readers pass over them, and nothing of what they said is left.
    pub fn blank_headers(message: &mut [u8], name: &str) {
        let mut end = 0;
        while let Some(rest) = message.get(end..) {
            let mut fields = Fields { rest, offset: end };
            let Some((start, _)) = fields.find_header(name) else { return };
            end = fields.offset;
            blank(message, start);
        }
    }

    /// The verdict and the fields of an answer message, without the buffer that it offers.
    ///
    /// # Errors
    /// [`Malformed`] when the message is shorter than a verdict or the verdict is unknown.
    pub fn of_answer(message: &'a [u8]) -> Result<(crate::Verdict, Self), Malformed> {
        let (code, rest) = message.split_first_chunk::<VERDICT>().ok_or(Malformed::Truncated { offset: 0 })?;
        let verdict = crate::Verdict::try_from(u32::from_le_bytes(*code))?;
        let offer = if Self::next_buffer(message).is_some() { FIELD_HEADER + size_of::<u64>() } else { 0 };
        Ok((verdict, Self { rest: rest.get(offer..).unwrap_or_default(), offset: VERDICT + offer }))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((head, rest)) = self.rest.split_first_chunk::<FIELD_HEADER>() else {
            return Some(self.truncated());
        };
        let [tag_low, tag_high, a, b, c, d] = *head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(len) else {
            return Some(self.truncated());
        };
        self.rest = rest;
        self.offset += FIELD_HEADER + len;
        Some(Ok(Field { tag: u16::from_le_bytes([tag_low, tag_high]), payload }))
    }
}

impl<'a> Fields<'a> {
    /// The value of the next header of that name, in any case, be it set or one of the message; what is malformed ends
    /// the message.
    #[inline]
    pub fn next_header(&mut self, name: &str) -> Option<&'a [u8]> {
        self.find_header(name).map(|(_, value)| value)
    }

    /// The same, and where the field begins. It reads the field by itself: by way of `next` and `pair`, whose results a
    /// guest hands over in memory, it costs twice as much.
    #[inline]
    fn find_header(&mut self, name: &str) -> Option<(usize, &'a [u8])> {
        let at = until_header(self.rest, name.as_bytes());
        let (head, field) = self.rest.get(at..)?.split_first_chunk::<FIELD_HEADER>()?;
        let [_, _, len @ ..] = *head;
        let (pair, rest) = field.split_at_checked(u32::from_le_bytes(len) as usize)?;
        let start = self.offset + at;
        self.offset = start + FIELD_HEADER + pair.len();
        self.rest = rest;
        Some((start, pair.get(PAIR_HEADER + name.len()..)?))
    }

    /// The fields that are still to come.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Where an answer says that the next message may be written: address and capacity of its first field, a
    /// [`tag::BUFFER`](crate::tag::BUFFER).
    #[inline]
    #[must_use]
    pub fn next_buffer(answer: &[u8]) -> Option<(u32, u32)> {
        let (head, rest) = answer.get(VERDICT..)?.split_first_chunk::<FIELD_HEADER>()?;
        let [tag_low, tag_high, 8, 0, 0, 0] = *head else { return None };
        let packed = u64::from_le_bytes(*rest.first_chunk()?);
        (u16::from_le_bytes([tag_low, tag_high]) == crate::tag::BUFFER).then_some(crate::unpack(packed))
    }

    fn truncated<T>(&mut self) -> Result<T, Malformed> {
        self.rest = &[];
        Err(Malformed::Truncated { offset: self.offset })
    }
}

/// How many bytes of `fields` there are before the first header of that name; all of them if there is none.
// A function of its own, so that a guest keeps all of it in registers: this is where a look-up spends its time.
#[inline(never)]
fn until_header(fields: &[u8], name: &[u8]) -> usize {
    let mut rest = fields;
    // Nothing shorter is a pair.
    while let Some(head) = rest.first_chunk::<{ FIELD_HEADER + PAIR_HEADER }>() {
        let [tag_low, tag_high, a, b, c, d, name_len @ ..] = *head;
        let Some(behind) =
            rest.get(FIELD_HEADER..).and_then(|rest| rest.get(u32::from_le_bytes([a, b, c, d]) as usize..))
        else {
            break;
        };
        if u32::from_le_bytes(name_len) as usize == name.len()
            && matches!(u16::from_le_bytes([tag_low, tag_high]), crate::tag::HEADER | crate::tag::HEADER_SET)
            && let Some(pair) = rest.get(head.len()..rest.len() - behind.len())
            && let Some((found, _)) = pair.split_at_checked(name.len())
            && headers::is_same_name(found, name)
        {
            return fields.len() - rest.len();
        }
        rest = behind;
    }
    fields.len()
}

/// Blanks the field that begins at byte `at` of `message`.
fn blank(message: &mut [u8], at: usize) {
    let Some((head, rest)) = message.get_mut(at..).and_then(|field| field.split_first_chunk_mut::<FIELD_HEADER>())
    else {
        return;
    };
    let [tag_low, tag_high, length @ ..] = head;
    [*tag_low, *tag_high] = crate::tag::NONE.to_le_bytes();
    if let Some(payload) = rest.get_mut(..u32::from_le_bytes(*length) as usize) {
        payload.fill(0);
    }
}
