//! Public-key signatures in native tests.
#![cfg(feature = "signatures")]

use meshup_sdk::crypto::{HostError, Signature, verify};

/// RFC 8032, 7.1, test 1: the empty message.
const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_signature_is_valid_not_valid_or_its_key_cannot_be_read() {
    let (key, signature) = (bytes(KEY), bytes(SIGNATURE));
    assert_eq!(verify(Signature::EdDsa, &key, b"", &signature), Ok(true));
    assert_eq!(verify(Signature::EdDsa, &key, b"x", &signature), Ok(false));
    assert_eq!(verify(Signature::EdDsa, b"short", b"", &signature), Err(HostError::Invalid));
}
