//! What a filter asks about its exchange, and what it leaves there.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use http::Version;
use meshup_abi::{ABSENT, Attribute, INVALID, NO_EXCHANGE, QUOTA};
use wasmtime::Caller;

use super::{Guest, Region, Result, crypto, guest};
use crate::exchange::{ExchangeInfo, Peer};

const MAX_VARIABLE_NAME: usize = 256;

pub(super) fn attribute(mut caller: Caller<'_, Guest>, attribute: u32, out: u32, capacity: u32) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let out = Region::new(out, capacity);
    out.of(memory)?;
    let Ok(attribute) = Attribute::try_from(attribute) else { return Ok(INVALID) };
    let Some(info) = &mut guest.info else { return Ok(NO_EXCHANGE) };
    guest.scratch.clear();
    match write_attribute(attribute, info, &mut guest.scratch) {
        Some(()) => Ok(out.fill(memory, &guest.scratch)?),
        None => Ok(ABSENT),
    }
}

pub(super) fn variable(mut caller: Caller<'_, Guest>, name: u32, len: u32, out: u32, capacity: u32) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let out = Region::new(out, capacity);
    out.of(memory)?;
    let name = Region::new(name, len).of(memory)?;
    if !is_variable_name(name) {
        return Ok(INVALID);
    }
    let Some(info) = &guest.info else { return Ok(NO_EXCHANGE) };
    match info.variables.get(name) {
        Some(value) => Ok(out.fill(memory, value)?),
        None => Ok(ABSENT),
    }
}

pub(super) fn set_variable(
    mut caller: Caller<'_, Guest>,
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let (name, value) = (Region::new(name, name_len).of(memory)?, Region::new(value, value_len).of(memory)?);
    if !is_variable_name(name) {
        return Ok(INVALID);
    }
    let Some(info) = &mut guest.info else { return Ok(NO_EXCHANGE) };
    Ok(if info.variables.set(name, value) { 0 } else { QUOTA })
}

fn is_variable_name(name: &[u8]) -> bool {
    (1..=MAX_VARIABLE_NAME).contains(&name.len()) && (name.is_ascii() || std::str::from_utf8(name).is_ok())
}

/// None when the exchange does not have it. Writing to a Vec does not fail.
fn write_attribute(attribute: Attribute, info: &mut ExchangeInfo, out: &mut Vec<u8>) -> Option<()> {
    let written = match attribute {
        Attribute::ClientAddress => write!(out, "{}", info.client.ip()),
        Attribute::ClientPort => write!(out, "{}", info.client.port()),
        Attribute::ServerAddress => write!(out, "{}", info.local),
        Attribute::Listener => out.write_all(info.listener.as_bytes()),
        Attribute::Route => out.write_all(info.route.as_bytes()),
        Attribute::Upstream => out.write_all(info.upstream.as_ref()?.as_bytes()),
        Attribute::Endpoint => write!(out, "{}", info.endpoint?),
        Attribute::RequestId => out.write_all(request_id(info).as_bytes()),
        Attribute::Protocol => out.write_all(protocol(info.protocol)),
        Attribute::StartTime => out.write_all(&unix_nanos(info.started_at()).to_le_bytes()),
        Attribute::Generation => write!(out, "{}", info.generation),
        Attribute::Attempts => write!(out, "{}", info.attempts),
        Attribute::RoutePrefix => out.write_all(info.route_prefix.as_ref()?.as_bytes()),
        Attribute::TlsVersion => out.write_all(info.tls.as_ref()?.version.as_bytes()),
        Attribute::TlsServerName => out.write_all(info.tls.as_ref()?.server_name.as_ref()?.as_bytes()),
        Attribute::PeerSubject => out.write_all(peer(info)?.subject.as_bytes()),
        Attribute::PeerSpiffe => out.write_all(peer(info)?.spiffe.as_ref()?.as_bytes()),
        Attribute::PeerSans => out.write_all(peer(info)?.sans.as_bytes()),
    };
    written.ok()
}

fn peer(info: &ExchangeInfo) -> Option<&Peer> {
    info.tls.as_ref()?.peer.as_ref()
}

/// The request id, made now when the exchange has none yet: 32 hexadecimal digits.
fn request_id(info: &mut ExchangeInfo) -> &str {
    info.request_id.get_or_insert_with(|| {
        let mut bytes = [0; 16];
        crypto::fill_random(&mut bytes);
        hexadecimal(bytes).into()
    })
}

/// Written by hand: formatting takes four times as long.
fn hexadecimal(bytes: [u8; 16]) -> String {
    let pairs =
        bytes.map(|byte| [byte >> 4, byte & 0xf].map(|digit| digit + if digit < 10 { b'0' } else { b'a' - 10 }));
    String::from_utf8_lossy(pairs.as_flattened()).into_owned()
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2",
        _ => b"HTTP/1.1",
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
