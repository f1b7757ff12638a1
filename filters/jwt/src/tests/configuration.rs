//! What a configuration may say.

use super::*;
use crate::{der, key::Key};

fn refused(config: Value) -> String {
    tester(config).configure().unwrap_err()
}

fn pem(alg: &str, pem: &str) -> Value {
    json!({ "keys": [{ "alg": alg, "public_key": pem }] })
}

fn jwk(change: impl FnOnce(&mut Value)) -> Value {
    let set: Value = serde_json::from_str(vectors::JWKS).unwrap();
    let mut key = set["keys"][0].clone();
    change(&mut key);
    json!({ "jwks": { "keys": [key] } })
}

#[test]
fn refusals_name_the_key() {
    let secret = |secret: &str| json!({ "keys": [{ "alg": "HS256", "secret": secret }] });
    let with = |more: Value| {
        let mut config = secret(vectors::SECRET);
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    for (config, expected) in [
        (json!({}), "no key for RS256, ES256, EdDSA or HS256 in `keys` or `jwks`, and no `remote_jwks`"),
        (json!({ "remote_jwks": {} }), "remote_jwks: missing field `upstream`"),
        (json!({ "remote_jwks": { "upstream": "", "path": "/" } }), "remote_jwks: upstream: empty"),
        (json!({ "remote_jwks": { "upstream": "a", "path": "b" } }), "remote_jwks: path: invalid path \"b\""),
        (json!({ "remote_jwks": { "upstream": "a", "path": "/", "host": "b c" } }), "remote_jwks: host: invalid host"),
        (
            json!({ "remote_jwks": { "upstream": "a", "path": "/", "refresh": "5" } }),
            "remote_jwks.refresh: invalid duration",
        ),
        (
            json!({ "remote_jwks": { "upstream": "a", "path": "/", "timeout": "0s" } }),
            "remote_jwks: timeout: expected more",
        ),
        (json!({ "remote_jwks": { "upstream": "a", "path": "/", "url": "" } }), "remote_jwks.url: unknown field"),
        (secret("short"), "keys[0]: a secret for HS256 has at least 32 bytes, not 5"),
        (json!({ "keys": [{ "alg": "RS256", "secret": vectors::SECRET }] }), "keys[0]: RS256 takes `public_key`"),
        (pem("HS256", vectors::RSA_PEM), "keys[0]: HS256 takes `secret`"),
        (pem("none", vectors::RSA_PEM), r#"keys[0]: alg: "none" is none of"#),
        (pem("RS256", "MAA="), "keys[0]: public_key: expected a PEM"),
        (pem("RS256", vectors::EC_PEM), "keys[0]: not a public key for RS256"),
        (pem("ES256", vectors::RSA_PEM), "keys[0]: not a public key for ES256"),
        (pem("EdDSA", vectors::EC_PEM), "keys[0]: not a public key for EdDSA"),
        (pem("ES256", vectors::ED_PEM), "keys[0]: not a public key for ES256"),
        (json!({ "keys": [{ "alg": "HS256", "secrets": "" }] }), "keys[0].secrets: unknown field"),
        (with(json!({ "header": "te" })), r#"header: the header "te" belongs to the proxy"#),
        (with(json!({ "leeway": "5" })), "leeway: invalid duration"),
        (with(json!({ "audience": 5 })), "audience: expected a text or a list of texts"),
        (with(json!({ "issuer": [] })), "issuer: empty; leave it out to accept any"),
        (with(json!({ "claims_to_headers": { "sub": "a b" } })), "claims_to_headers.sub: invalid header name \"a b\""),
        (with(json!({ "claims_to_headers": { "a": "x", "b": "X" } })), "claims_to_headers.b: another claim goes to"),
        (with(json!({ "claims_to_headers": { "sub": "Authorization" } })), "is the header of the token"),
        (with(json!({ "cache": { "entries": -1 } })), "cache.entries: invalid value"),
        (with(json!({ "isuer": "x" })), "unknown field `isuer`"),
    ] {
        let message = refused(config);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn key_sets_are_refused_by_their_key() {
    for (config, expected) in [
        (json!({ "jwks": "{" }), "jwks: not a JSON Web Key Set"),
        (json!({ "jwks": { "keys": [] } }), "no key for RS256"),
        (jwk(|key| key["alg"] = "HS256".into()), r#"jwks: keys[0]: alg: "HS256" does not go with kty "RSA""#),
        (jwk(|key| key["n"] = "AQAB".into()), "jwks: keys[0]: n: an RSA key has 2048 to 8192 bits, not 24"),
        (jwk(|key| key["n"] = "A=".into()), "jwks: keys[0]: n: not base64url without padding"),
        (jwk(|key| drop(key.as_object_mut().unwrap().remove("e"))), r#"jwks: keys[0]: missing "e""#),
        (jwk(|key| key["d"] = "AQAB".into()), "jwks: keys[0]: d: this is a private key"),
    ] {
        let message = refused(config);
        assert!(message.contains(expected), "{message}");
    }
    let twice = json!({ "keys": [{ "alg": "HS256", "secret": vectors::SECRET, "kid": "h" }], "jwks": vectors::JWKS });
    assert_eq!(refused(twice), r#"two keys of one algorithm have the kid "h""#);
}

#[test]
fn keys_that_are_not_for_these_tokens_are_passed_over() {
    for change in [
        |key: &mut Value| key["use"] = "enc".into(),
        |key: &mut Value| key["key_ops"] = json!(["sign"]),
        |key: &mut Value| key["alg"] = "RS512".into(),
        |key: &mut Value| key["kty"] = "AKP".into(),
    ] {
        assert!(refused(jwk(change)).starts_with("no key for"));
    }
}

#[test]
fn an_rsa_key_of_two_numbers_is_the_same_der() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let der = der::from_pem(vectors::RSA_PKCS1_PEM).unwrap();
    assert_eq!(hex(&der), vectors::RSA_PKCS1_DER_HEX);
    // SEQUENCE and INTEGER with a 2-byte length each; the modulus with its zero; then INTEGER 65537.
    let (modulus, exponent) = (&der[8..8 + 257], &der[der.len() - 3..]);
    assert_eq!(hex(&der::rsa_public_key(modulus, exponent)), vectors::RSA_PKCS1_DER_HEX);
}

#[test]
fn a_key_is_not_shown() {
    let key = Key::new(None, crypto::Signature::Hs256, vectors::SECRET.into()).unwrap();
    assert!(!format!("{key:?}").contains("48, 49"));
}
