//! Keys in the two encodings the host does not read itself: PEM, and an RSA key as two numbers.
//!
//! **Invariant:** what comes out is DER, except that a PEM's content is only checked by the host.

use base64::{Engine, engine::general_purpose::STANDARD};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// The DER in a PEM of a public key, SPKI or PKCS#1.
pub(crate) fn from_pem(pem: &str) -> Result<Vec<u8>, String> {
    let content = ["PUBLIC KEY", "RSA PUBLIC KEY"].iter().find_map(|label| {
        let begin = format!("-----BEGIN {label}-----");
        let end = format!("-----END {label}-----");
        pem.trim().strip_prefix(&begin)?.strip_suffix(&end)
    });
    let content = content.ok_or("public_key: expected a PEM, \"-----BEGIN PUBLIC KEY-----\" to the same with END")?;
    let content: String = content.split_ascii_whitespace().collect();
    STANDARD.decode(content).map_err(|error| format!("public_key: not base64: {error}"))
}

/// PKCS#1 `RSAPublicKey`: the sequence of modulus and exponent, both unsigned and big-endian.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::with_capacity(modulus.len() + exponent.len() + 16);
    put_unsigned(&mut numbers, modulus);
    put_unsigned(&mut numbers, exponent);
    let mut key = Vec::with_capacity(numbers.len() + 8);
    put(&mut key, SEQUENCE, &numbers);
    key
}

/// An INTEGER in as few bytes as it takes, with a zero before a leading bit that would make it negative.
fn put_unsigned(out: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    let mut content = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(digits);
    put(out, INTEGER, &content);
}

fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put_length(out, content.len());
    out.extend_from_slice(content);
}

/// Below 128 in one byte; otherwise the count of the bytes that follow, and these.
fn put_length(out: &mut Vec<u8>, length: usize) {
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        return out.push(short);
    }
    let bytes = length.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = &bytes[zeros..];
    // At most 8 digits.
    out.push(0x80 | digits.len() as u8);
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shortest_and_never_negative() {
        for (number, expected) in [
            (&[][..], &[2, 1, 0][..]),
            (&[0, 0], &[2, 1, 0]),
            (&[1, 0, 1], &[2, 3, 1, 0, 1]),
            (&[0x7f], &[2, 1, 0x7f]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0, 0, 0xff, 1], &[2, 3, 0, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_unsigned(&mut out, number);
            assert_eq!(out, expected, "{number:?}");
        }
    }

    #[test]
    fn lengths_are_short_or_long_form() {
        for (length, expected) in [
            (0, &[0][..]),
            (0x7f, &[0x7f]),
            (0x80, &[0x81, 0x80]),
            (0xff, &[0x81, 0xff]),
            (0x100, &[0x82, 1, 0]),
            (0x1_0000, &[0x83, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            put_length(&mut out, length);
            assert_eq!(out, expected, "{length}");
        }
    }

    #[test]
    fn a_pem_is_taken_whole_or_not_at_all() {
        let pem = |label: &str, content: &str| format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n");
        assert_eq!(from_pem(&pem("PUBLIC KEY", "MAA=")), Ok(vec![0x30, 0]));
        assert_eq!(from_pem(&pem("RSA PUBLIC KEY", " MA\r\nA= ")), Ok(vec![0x30, 0]));
        for wrong in
            ["", "MAA=", &pem("PRIVATE KEY", "MAA="), &pem("PUBLIC KEY", "MA-="), &pem("PUBLIC KEY", "MAA=").repeat(2)]
        {
            assert!(from_pem(wrong).is_err(), "{wrong}");
        }
    }
}
