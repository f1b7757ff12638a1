//! Reading and writing messages as the SDK needs it: lenient in reading, infallible in writing.
//!
//! The format itself is `meshup-abi`.
//!
//! **Invariant:** every message the SDK writes or reads goes through here.

use std::time::Duration;

use meshup_abi::{Field, Fields, Overflow, Verdict, Writer, tag};

/// The fields of a message up to the first malformed one.
#[inline]
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields::new(message).map_while(Result::ok)
}

#[inline]
pub(crate) fn first(message: &[u8], tag: u16) -> Option<Field<'_>> {
    fields(message).find(|field| field.tag == tag)
}

pub(crate) fn last(message: &[u8], tag: u16) -> Option<Field<'_>> {
    fields(message).filter(|field| field.tag == tag).last()
}

pub(crate) fn first_u32(message: &[u8], tag: u16) -> Option<u32> {
    first(message, tag)?.u32().ok()
}

pub(crate) fn first_duration(message: &[u8], tag: u16) -> Option<Duration> {
    first(message, tag)?.duration().ok()
}

/// The body content a message carries.
pub(crate) fn data(message: &[u8]) -> &[u8] {
    first(message, tag::DATA).map_or(&[], |field| field.payload)
}

/// What opens an answer; `buffer` is 0 where there is none.
#[inline]
pub(crate) fn put_verdict(out: &mut Vec<u8>, verdict: Verdict, buffer: u64) {
    let mut writer = Writer::new(out);
    fits(if buffer == 0 { writer.verdict(verdict) } else { writer.verdict_and_buffer(verdict, buffer) });
}

#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u16, payload: &[u8]) {
    fits(Writer::new(out).bytes(tag, payload));
}

#[inline]
pub(crate) fn put_pair(out: &mut Vec<u8>, tag: u16, name: &[u8], value: &[u8]) {
    fits(Writer::new(out).pair(tag, name, value));
}

pub(crate) fn put_u16(out: &mut Vec<u8>, tag: u16, value: u16) {
    fits(Writer::new(out).u16(tag, value));
}

pub(crate) fn put_u32(out: &mut Vec<u8>, tag: u16, value: u32) {
    fits(Writer::new(out).u32(tag, value));
}

pub(crate) fn put_u64(out: &mut Vec<u8>, tag: u16, value: u64) {
    fits(Writer::new(out).u64(tag, value));
}

pub(crate) fn put_duration(out: &mut Vec<u8>, tag: u16, value: Duration) {
    fits(Writer::new(out).duration(tag, value));
}

#[inline]
fn fits(written: Result<(), Overflow>) {
    assert!(written.is_ok(), "one field of a message holds less than 4 GiB");
}
