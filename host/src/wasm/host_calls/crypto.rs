//! Digests, signatures and random numbers, done by the host's cryptography.
//!
//! **Invariant:** work on data of any length looks at the CPU budget at least once per [`CHUNK`].

use aws_lc_rs::{
    digest, hmac,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm},
};
use meshup_abi::{INVALID, Signature};
use rand::Rng;
use wasmtime::{Caller, Trap};

use super::{Guest, Region, Result, guest};
use crate::wasm::cpu::CpuBudget;

/// Bytes between two looks at the budget: less than a millisecond of work.
const CHUNK: usize = 256 << 10;
/// The most data that a public-key signature is checked over, which is done in one go.
const MAX_SIGNED: usize = 1 << 20;
/// The longest public key: several times one of 8,192 bits.
const MAX_PUBLIC_KEY: usize = 8 << 10;

/// The first byte of a DER sequence, which no raw key of the right length begins an SPKI with.
const DER_SEQUENCE: u8 = 0x30;
const P256_POINT_BYTES: usize = 65;
const ED25519_KEY_BYTES: usize = 32;

pub(super) fn random(mut caller: Caller<'_, Guest>, out: u32, len: u32) -> Result<()> {
    let (memory, guest) = guest(&mut caller)?;
    for chunk in Region::new(out, len).of_mut(memory)?.chunks_mut(CHUNK) {
        fill_random(chunk);
        look_at_budget(&mut guest.cpu, chunk)?;
    }
    Ok(())
}

/// Random bytes, cryptographically strong: of a generator of the thread's own, which the system seeds now and then, as most
/// exchanges want 16 or 32 bytes and a system call for each would cost more. That of aws-lc gathers its seeds from the
/// jitter of the processor, which takes tens of milliseconds: more than a call may take.
pub(super) fn fill_random(bytes: &mut [u8]) {
    rand::rng().fill_bytes(bytes);
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
    match Signature::try_from(algorithm) {
        Ok(algorithm) => check(algorithm, key, data, signature, &mut guest.cpu),
        Err(_) => Ok(INVALID),
    }
}

fn check(algorithm: Signature, key: &[u8], data: &[u8], signature: &[u8], cpu: &mut CpuBudget) -> Result<i32> {
    Ok(match algorithm {
        Signature::Hs256 => verify_hmac(key, data, signature, cpu)?,
        _ if data.len() > MAX_SIGNED || key.len() > MAX_PUBLIC_KEY => INVALID,
        Signature::Rs256 => verify_public(&RSA_PKCS1_2048_8192_SHA256, key, data, signature),
        Signature::Es256 if is_key(key, P256_POINT_BYTES) => {
            verify_public(&ECDSA_P256_SHA256_FIXED, key, data, signature)
        }
        Signature::EdDsa if is_key(key, ED25519_KEY_BYTES) => verify_public(&ED25519, key, data, signature),
        Signature::Es256 | Signature::EdDsa => INVALID,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::{
        Engine,
        prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
    };

    use super::*;
    use crate::wasm::cpu::thread_cpu_time;

    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    /// A key made by OpenSSL, in both formats, and its signature of `signed by openssl`.
    const RSA_SPKI: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A";
    const RSA_PKCS1: &str = "MIIBCgKCAQEAmEk8bs/MICEZk5rKMB/qyR9zwn0UgkLvH466c8ynkIl4/1ISccGprcpjkDQ1LXDRwr5lQeTmhJ3NUY+9BqMtlWv8tKzwqNcz/0IgQO2Z++zkcmBxFOVNjWonwPFie+p1bbpAWI8E+F3mrfzx1b7/LP5MnPUtkC1Cjoezd6w76nGBMq5yxCerHFuQ2vUVjzgPikNe1Zt4RX+Qw9D4/prvvu6hku4bRh06cXLZQgICp/YTkN1qT17k6oW2J9/5uB1/fymftg9/eni3cTNBHgIkICHGUn0DlF6tUEyZ33brL+v97dsESE05DZbXAI+UAWJd32g11mxYxrnJJlio5KIrGQIDAQAB";
    const RSA_SIGNATURE: &str = "W4ZrLPBDzyWKj+KBWu4b1SsotitE8AnCAoPFaZhhv3gopI0T/ta3OvRSqRdnmItJxLjStr2mipf4yse4DMEPk3MSwvh54zpGu5enrFXH14oBPzFBD5KuKNPxvuFI35ltGebhSt9f01Qs2QsX90ibB2e5YzxSEoNZoubT3HFyzoUxixVrFUke0xUhhR1Y+267p+5OmFOlDs02YOZB16MrilEtnhTt6Za4M/1PUWTzPEFGYcPtrdQjKdgIXnYEh6JEkemcEYz/XSEAd53x68vYIeyAmPW0WiwV9jbyZA/qm6j8+/983H9FVu8qQZSInGtNRXzH7XPL6uda4x7Q/M5yCg==";
    /// 1024 bits, which is too short, and its signature of the same.
    const RSA_SHORT: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDJF6j8ckE93XXXkYs5UMzsg4mq8vWOyTtmMo24pOXn2sG7/3oqk9w2dqDj9YC76FmE+IrtfvuFeB2JhJnzyyB0qbG7BJzLk8hE2nDVkPGJTyp2GGrfOt9HXEDd9zJR57WGsr873qzEbqkXbMpAPygjNvaIphj0KoZ35WnohigF1QIDAQAB";
    const RSA_SHORT_SIGNATURE: &str = "ioQGMEoi/PbrzG/erbjxWNqk9p3JXosGryoeUCDdGmXEHCjbkVqBNCis2fyUM+d5zdfAUH/7oLNc8G/ikRlwW4euLP+HcCwpZhoBU+A4tLY1J1trNiwfyFdzZzn3Tm6b4zklLkwq4xIAkHhBUXKZ3RUF1Ulr+L0O88RUlffGl1c=";

    fn url(text: &str) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn standard(text: &str) -> Vec<u8> {
        BASE64_STANDARD.decode(text).unwrap()
    }

    fn verdict(algorithm: Signature, key: &[u8], data: &[u8], signature: &[u8]) -> i32 {
        check(algorithm, key, data, signature, &mut CpuBudget::new(Duration::from_secs(1))).unwrap()
    }

    /// Every key verifies the signature, and nothing that differs from it in one bit or in length.
    fn assert_verifies(algorithm: Signature, keys: &[&[u8]], data: &[u8], signature: &[u8]) {
        let mut other = signature.to_vec();
        *other.last_mut().unwrap() ^= 1;
        for key in keys {
            assert_eq!(verdict(algorithm, key, data, signature), 1, "{algorithm} with {} bytes of key", key.len());
            assert_eq!(verdict(algorithm, key, b"other data", signature), 0);
            for wrong in [&other[..], &signature[1..], b""] {
                assert_eq!(verdict(algorithm, key, data, wrong), 0);
            }
        }
    }

    #[test]
    fn rs256_takes_both_key_formats() {
        let (pkcs1, signature) = (standard(RSA_PKCS1), standard(RSA_SIGNATURE));
        let spki = [standard(RSA_SPKI), pkcs1.clone()].concat();
        assert_verifies(Signature::Rs256, &[&pkcs1, &spki], b"signed by openssl", &signature);
        let short = (standard(RSA_SHORT), standard(RSA_SHORT_SIGNATURE));
        assert_eq!(verdict(Signature::Rs256, &short.0, b"signed by openssl", &short.1), 0);
    }

    /// RFC 7515 A.3
    #[test]
    fn es256_takes_both_key_formats() {
        let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let point = [vec![4], url(x), url(y)].concat();
        let spki = [standard("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA="), point.clone()].concat();
        let data = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}");
        let signature = url("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
        assert_verifies(Signature::Es256, &[&point, &spki], data.as_bytes(), &signature);
        let compressed = [vec![3], url(x)].concat();
        assert_eq!(verdict(Signature::Es256, &compressed, data.as_bytes(), &signature), INVALID);
        assert_eq!(verdict(Signature::Es256, &[4; 65], data.as_bytes(), &signature), INVALID);
    }

    /// RFC 8037 A.4
    #[test]
    fn eddsa_takes_both_key_formats() {
        let key = url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let spki = [standard("MCowBQYDK2VwAyEA"), key.clone()].concat();
        let data = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = url("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
        assert_verifies(Signature::EdDsa, &[&key, &spki], data, &signature);
        assert_eq!(verdict(Signature::EdDsa, &key[1..], data, &signature), INVALID);
    }

    /// RFC 7515 A.1
    #[test]
    fn hs256() {
        let key = url("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
        let data = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}");
        let signature = url("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_verifies(Signature::Hs256, &[&key], data.as_bytes(), &signature);
    }

    #[test]
    fn the_first_random_numbers_cost_no_more_than_others() {
        let began = thread_cpu_time().unwrap();
        let mut bytes = [0; 16];
        fill_random(&mut bytes);
        let used = thread_cpu_time().unwrap() - began;
        assert!(used < Duration::from_millis(5) && bytes != [0; 16], "{used:?}");
    }

    /// RFC 4231, test case 6
    #[test]
    fn hmac_with_a_key_longer_than_a_block() {
        let mut cpu = CpuBudget::new(Duration::from_secs(1));
        let key = hmac_key(&[0xaa; 131], &mut cpu).unwrap();
        let tag = hmac_tag(&key, b"Test Using Larger Than Block-Size Key - Hash Key First", &mut cpu).unwrap();
        assert_eq!(tag.as_ref()[..8], [0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f]);
    }

    #[test]
    fn keys_of_another_algorithm_and_rubbish_are_invalid() {
        let rsa = standard(RSA_PKCS1);
        for algorithm in [Signature::Rs256, Signature::Es256, Signature::EdDsa] {
            for key in [&b""[..], b"0", b"rubbish", &[0x30; 300]] {
                assert_eq!(verdict(algorithm, key, b"data", &[0; 64]), INVALID, "{algorithm} {key:?}");
            }
        }
        assert_eq!(verdict(Signature::Es256, &rsa, b"data", &[0; 64]), INVALID);
        assert_eq!(verdict(Signature::EdDsa, &rsa, b"data", &[0; 64]), INVALID);
        assert_eq!(verdict(Signature::Rs256, &rsa, &vec![0; MAX_SIGNED + 1], &[0; 256]), INVALID);
    }
}
