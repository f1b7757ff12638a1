//! Digests, signatures and random numbers, done by the host's cryptography.
//!
//! **Invariant:** work on data of any length looks at the CPU budget at least once per [`CHUNK`].

use std::io;

use aws_lc_rs::{
    digest, hmac, rand,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm},
};
use meshup_abi::{INVALID, Signature};
use wasmtime::{Caller, Trap};

use super::{Guest, Region, Result, guest};
use crate::wasm::cpu::CpuBudget;

/// Bytes between two looks at the budget: less than a millisecond of work.
const CHUNK: usize = 256 << 10;
/// The most data that a public-key signature is checked over, which is done in one go.
const MAX_SIGNED: usize = 1 << 20;

/// The first byte of a DER sequence, which no raw key of the right length begins an SPKI with.
const DER_SEQUENCE: u8 = 0x30;
const P256_POINT_BYTES: usize = 65;
const ED25519_KEY_BYTES: usize = 32;

pub(super) fn random(mut caller: Caller<'_, Guest>, out: u32, len: u32) -> Result<()> {
    let (memory, guest) = guest(&mut caller)?;
    for chunk in Region::new(out, len).of_mut(memory)?.chunks_mut(CHUNK) {
        fill_random(chunk)?;
        look_at_budget(&mut guest.cpu, chunk)?;
    }
    Ok(())
}

/// Random bytes, cryptographically strong.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    rand::fill(bytes).map_err(|_| io::Error::other("no random numbers").into())
}

pub(super) fn sha256(mut caller: Caller<'_, Guest>, data: u32, len: u32, out: u32) -> Result<()> {
    let (memory, guest) = guest(&mut caller)?;
    let mut context = digest::Context::new(&digest::SHA256);
    in_chunks(Region::new(data, len).of(memory)?, &mut guest.cpu, |chunk| context.update(chunk))?;
    write_digest(memory, out, context.finish().as_ref())
}

pub(super) fn hmac_sha256(
    mut caller: Caller<'_, Guest>,
    key: u32,
    key_len: u32,
    data: u32,
    len: u32,
    out: u32,
) -> Result<()> {
    let (memory, guest) = guest(&mut caller)?;
    let key = hmac_key(Region::new(key, key_len).of(memory)?, &mut guest.cpu)?;
    let tag = hmac_tag(&key, Region::new(data, len).of(memory)?, &mut guest.cpu)?;
    write_digest(memory, out, tag.as_ref())
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
pub(super) fn verify(
    mut caller: Caller<'_, Guest>,
    algorithm: u32,
    key: u32,
    key_len: u32,
    data: u32,
    data_len: u32,
    signature: u32,
    signature_len: u32,
) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let key = Region::new(key, key_len).of(memory)?;
    let data = Region::new(data, data_len).of(memory)?;
    let signature = Region::new(signature, signature_len).of(memory)?;
    Ok(match Signature::try_from(algorithm) {
        Ok(Signature::Hs256) => verify_hmac(key, data, signature, &mut guest.cpu)?,
        Ok(_) if data.len() > MAX_SIGNED => INVALID,
        Ok(Signature::Rs256) => verify_public(&RSA_PKCS1_2048_8192_SHA256, key, data, signature),
        Ok(Signature::Es256) if is_key(key, P256_POINT_BYTES) => {
            verify_public(&ECDSA_P256_SHA256_FIXED, key, data, signature)
        }
        Ok(Signature::EdDsa) if is_key(key, ED25519_KEY_BYTES) => verify_public(&ED25519, key, data, signature),
        Ok(_) | Err(_) => INVALID,
    })
}

/// A raw key of the right length, or something in DER.
fn is_key(key: &[u8], raw_len: usize) -> bool {
    key.len() == raw_len || key.first() == Some(&DER_SEQUENCE)
}

fn verify_public(algorithm: &'static dyn VerificationAlgorithm, key: &[u8], data: &[u8], signature: &[u8]) -> i32 {
    match ParsedPublicKey::new(algorithm, key) {
        Ok(key) => i32::from(key.verify_sig(data, signature).is_ok()),
        Err(_) => INVALID,
    }
}

fn verify_hmac(key: &[u8], data: &[u8], signature: &[u8], cpu: &mut CpuBudget) -> Result<i32> {
    let tag = hmac_tag(&hmac_key(key, cpu)?, data, cpu)?;
    Ok(i32::from(aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok()))
}

/// Long keys are hashed first (RFC 2104), here with an eye on the budget.
fn hmac_key(key: &[u8], cpu: &mut CpuBudget) -> Result<hmac::Key> {
    if key.len() <= digest::SHA256.block_len() {
        return Ok(hmac::Key::new(hmac::HMAC_SHA256, key));
    }
    let mut context = digest::Context::new(&digest::SHA256);
    in_chunks(key, cpu, |chunk| context.update(chunk))?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, context.finish().as_ref()))
}

fn hmac_tag(key: &hmac::Key, data: &[u8], cpu: &mut CpuBudget) -> Result<hmac::Tag> {
    let mut context = hmac::Context::with_key(key);
    in_chunks(data, cpu, |chunk| context.update(chunk))?;
    Ok(context.sign())
}

fn in_chunks(data: &[u8], cpu: &mut CpuBudget, mut each: impl FnMut(&[u8])) -> Result<()> {
    data.chunks(CHUNK).try_for_each(|chunk| {
        each(chunk);
        look_at_budget(cpu, chunk)
    })
}

/// The short work of everyday costs no look at the clock.
fn look_at_budget(cpu: &mut CpuBudget, done: &[u8]) -> Result<()> {
    if done.len() == CHUNK && cpu.is_spent() { Err(Trap::Interrupt.into()) } else { Ok(()) }
}

fn write_digest(memory: &mut [u8], out: u32, digest: &[u8]) -> Result<()> {
    let len = u32::try_from(digest.len()).unwrap_or(u32::MAX);
    Region::new(out, len).of_mut(memory)?.copy_from_slice(digest);
    Ok(())
}
