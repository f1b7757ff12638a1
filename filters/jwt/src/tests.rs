mod configuration;
mod remote;
mod vectors;

use meshup_sdk::testing::{self, Finished, Tester, json};
use serde_json::Value;

use super::*;

fn tester(config: Value) -> Tester {
    testing::filter(jwt).config(config)
}

/// A filter with the four keys of the set, and more configuration.
#[allow(clippy::needless_pass_by_value, reason = "a test writes the configuration in place")]
fn with_set(more: Value) -> Tester {
    let mut config = json!({ "jwks": vectors::JWKS });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tester(config)
}

fn run(tester: &mut Tester, token: &str) -> Finished {
    let req = Request::get("/").with_header("authorization", format!("Bearer {token}"));
    tester.run(req, |_| Response::new(200))
}

/// `passed`, or why not.
fn said(tester: &mut Tester, token: &str) -> String {
    let done = run(tester, token);
    if done.passed {
        return "passed".to_owned();
    }
    assert_eq!((done.status(), done.sent.len()), (401, 0));
    let body: Value = serde_json::from_slice(done.body()).unwrap();
    let message = body["message"].as_str().unwrap();
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{message}\"");
    assert_eq!(done.header("www-authenticate"), Some(challenge.as_str()));
    assert_eq!(body["error"], "invalid_token");
    message.to_owned()
}

#[test]
fn tokens_of_each_algorithm_pass_with_the_key_of_a_set() {
    let mut tester = with_set(json!({ "issuer": "https://issuer.example", "audience": "orders" }));
    for token in [vectors::RS256, vectors::ES256, vectors::EDDSA, vectors::HS256, vectors::RS256_NO_KID] {
        assert_eq!(said(&mut tester, token), "passed", "{token}");
        assert_eq!(tester.variable("jwt.sub").as_deref(), Some("alice"));
    }
    let table: Value = serde_json::from_str(vectors::JWKS).unwrap();
    assert_eq!(said(&mut super::tests::tester(json!({ "jwks": table })), vectors::ES256), "passed");
}

#[test]
fn tokens_of_each_algorithm_pass_with_an_inline_key() {
    for (alg, pem, token) in [
        ("RS256", vectors::RSA_PEM, vectors::RS256),
        ("RS256", vectors::RSA_PKCS1_PEM, vectors::RS256),
        ("ES256", vectors::EC_PEM, vectors::ES256),
        ("EdDSA", vectors::ED_PEM, vectors::EDDSA),
    ] {
        let mut tester = tester(json!({ "keys": [{ "alg": alg, "public_key": pem }] }));
        assert_eq!(said(&mut tester, token), "passed", "{alg}");
    }
    let mut tester = tester(json!({ "keys": [{ "alg": "HS256", "secret": vectors::SECRET, "kid": "h" }] }));
    assert_eq!(said(&mut tester, vectors::HS256), "passed");
}

#[test]
fn wrong_signatures_and_algorithms_are_refused() {
    let mut tester = with_set(json!({}));
    let (signature, unknown) = ("the token's signature is not valid", "the token's key is not known");
    let algorithm = "the token's algorithm is not allowed";
    for (token, expected) in [
        (vectors::RS256_OTHER_KEY, signature),
        (vectors::TAMPERED, signature),
        (vectors::RS256_UNKNOWN_KID, unknown),
        (vectors::HS256_WITH_RSA_PEM, unknown),
        (vectors::HS256_WITH_RSA_PEM_NO_KID, signature),
        (vectors::NONE, algorithm),
        (vectors::NONE_UPPER, algorithm),
        (vectors::RS512, algorithm),
        (vectors::CRIT, "the token has critical header parameters that are not known here"),
        (vectors::CRIT_NULL, "the token has critical header parameters that are not known here"),
    ] {
        assert_eq!(said(&mut tester, token), expected, "{token}");
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    for config in [json!({ "keys": [{ "alg": "RS256", "public_key": vectors::RSA_PEM }] }), only("RSA")] {
        let mut tester = tester(config);
        for token in [vectors::HS256_WITH_RSA_PEM, vectors::HS256_WITH_RSA_PEM_NO_KID] {
            assert_eq!(said(&mut tester, token), "the token's algorithm is not allowed");
        }
    }
}

/// The keys of one type, without `alg`.
fn only(kty: &str) -> Value {
    let mut set: Value = serde_json::from_str(vectors::JWKS).unwrap();
    let keys = set["keys"].as_array_mut().unwrap();
    keys.retain(|key| key["kty"] == kty);
    keys.iter_mut().for_each(|key| drop(key.as_object_mut().unwrap().remove("alg")));
    json!({ "jwks": set })
}

#[test]
fn a_jwk_without_alg_gets_it_from_its_type() {
    for (kty, token) in
        [("RSA", vectors::RS256), ("EC", vectors::ES256), ("OKP", vectors::EDDSA), ("oct", vectors::HS256)]
    {
        let mut tester = tester(only(kty));
        assert_eq!(said(&mut tester, token), "passed");
        let others = [vectors::RS256, vectors::ES256, vectors::EDDSA, vectors::HS256];
        for other in others.iter().filter(|other| **other != token) {
            assert_eq!(said(&mut tester, other), "the token's algorithm is not allowed");
        }
    }
}

#[test]
fn only_the_canonical_form_of_a_token_counts() {
    let mut tester = with_set(json!({}));
    let token = vectors::HS256;
    let base64 = "the token is malformed: not base64url";
    for wrong in [
        vectors::NON_CANONICAL.to_owned(),
        format!("{token}="),
        format!("{token} "),
        format!("{token}AA=="),
        token.replace('.', "+."),
    ] {
        assert_eq!(said(&mut tester, &wrong), base64, "{wrong}");
    }
    assert_eq!(said(&mut tester, &format!("{token}AAAA")), "the token's signature is not valid");
    assert_eq!(said(&mut tester, "AAAA.AAAA.AAAA"), "the token is malformed: not the JSON of a token");
    for wrong in ["", "AAAA", "AAAA.AAAA", &format!("{token}.AAAA")] {
        assert_eq!(said(&mut tester, wrong), "the token is malformed: not three parts");
    }
    let json = "the token is malformed: not the JSON of a token";
    for token in [
        vectors::KID_NUMBER,
        vectors::ALG_TWICE,
        vectors::HEADER_TRAILING,
        vectors::CLAIMS_TRAILING,
        vectors::CLAIMS_NOT_UTF8,
        vectors::EXP_OVERFLOW,
    ] {
        assert_eq!(said(&mut tester, token), json, "{token}");
    }
    assert_eq!(said(&mut tester, vectors::CLAIMS_ARRAY), "the token is malformed: the claims are not an object");
}

#[test]
fn a_token_may_have_8_kib_and_no_more() {
    let mut tester = with_set(json!({}));
    let padded = |len: usize| format!("{}{}", vectors::HS256, "A".repeat(len - vectors::HS256.len()));
    assert_ne!(said(&mut tester, &padded(8192)), "the token is too long");
    assert_eq!(said(&mut tester, &padded(8193)), "the token is too long");
}

#[test]
fn claims_are_checked() {
    let mut tester = with_set(json!({
        "issuer": ["https://other.example", "https://issuer.example"], "audience": ["a", "orders"], "required_claims": ["sub"]
    }));
    let (issuer, audience) = ("the token's issuer is not accepted", "the token is for another audience");
    for (token, expected) in [
        (vectors::HS256, "passed"),
        (vectors::AUDIENCE_TEXT, "passed"),
        (vectors::EXP_FRACTION, "passed"),
        (vectors::EXPIRED, "the token has expired"),
        (vectors::NO_EXP, "the token has no expiry"),
        (vectors::EXP_TEXT, "the token is malformed: a time is not a number"),
        (vectors::NOT_YET, "the token is not valid yet"),
        (vectors::OTHER_ISSUER, issuer),
        (vectors::NO_ISSUER, issuer),
        (vectors::OTHER_AUDIENCE, audience),
        (vectors::NO_AUDIENCE, audience),
        (vectors::NO_SUB, "the token lacks a required claim"),
    ] {
        assert_eq!(said(&mut tester, token), expected, "{token}");
    }
    let mut lax = with_set(json!({ "require_exp": false }));
    for token in [vectors::NO_EXP, vectors::OTHER_ISSUER, vectors::NO_ISSUER, vectors::OTHER_AUDIENCE, vectors::NO_SUB]
    {
        assert_eq!(said(&mut lax, token), "passed");
    }
    assert_eq!(said(&mut lax, vectors::EXPIRED), "the token has expired");
}

/// `exp` of the vectors.
const EXP: Duration = Duration::from_secs(4_102_444_800);

#[test]
fn expiry_and_its_leeway_count_for_remembered_tokens_too() {
    let mut tester = with_set(json!({ "leeway": "10s", "cache": { "ttl": "99999999h" } }));
    assert_eq!(said(&mut tester, vectors::RS256), "passed");
    tester.advance(EXP - clock::unix() + Duration::from_secs(9));
    assert_eq!(said(&mut tester, vectors::RS256), "passed");
    tester.advance(Duration::from_secs(1));
    assert_eq!(said(&mut tester, vectors::RS256), "the token has expired");
    assert_eq!(said(&mut tester, vectors::RS256), "the token has expired");
}

#[test]
fn nbf_has_the_same_leeway() {
    let mut tester = with_set(json!({ "leeway": "10s" }));
    tester.configure().unwrap();
    assert_eq!(said(&mut tester, vectors::NOT_YET), "the token is not valid yet");
    // Its nbf is 800 s before its exp.
    tester.advance(EXP - clock::unix() - Duration::from_secs(812));
    assert_eq!(said(&mut tester, vectors::NOT_YET), "the token is not valid yet");
    tester.advance(Duration::from_secs(3));
    assert_eq!(said(&mut tester, vectors::NOT_YET), "passed");
}

#[test]
fn a_remembered_token_grants_the_same() {
    let mut tester = with_set(json!({ "claims_to_headers": { "sub": "x-user" } }));
    for _ in 0..3 {
        let done = run(&mut tester, vectors::RS256);
        assert_eq!((done.sent[0].header("x-user"), done.sent[0].header("authorization")), (Some("alice"), None));
        assert_eq!(tester.variable("jwt.sub").as_deref(), Some("alice"));
        assert_eq!(
            said(&mut tester, &vectors::RS256.replacen('e', "f", 1)),
            "the token is malformed: not the JSON of a token"
        );
    }
}

#[test]
fn a_missing_token_is_asked_for() {
    let mut two = Request::get("/").with_header("authorization", format!("Bearer {}", vectors::HS256));
    two.headers_mut().append("authorization", format!("Bearer {}", vectors::HS256));
    let basic = Request::get("/").with_header("authorization", "Basic YWxpY2U6");
    let mut tester = with_set(json!({}));
    for req in [Request::get("/"), basic] {
        let done = tester.run(req, |_| Response::new(200));
        assert_eq!((done.status(), done.header("www-authenticate")), (401, Some("Bearer")));
        assert_eq!(done.text(), "{\"error\":\"unauthorized\",\"message\":\"a bearer token is required\"}\n");
    }
    let done = tester.run(two, |_| Response::new(200));
    assert!(done.text().contains("more than one token"));
}

#[test]
fn an_optional_token_may_be_missing_but_not_wrong() {
    let mut tester = with_set(json!({ "optional": true, "claims_to_headers": { "sub": "x-user" } }));
    let done = tester.run(Request::get("/").with_header("X-User", "root"), |_| Response::new(200));
    assert_eq!((done.passed, done.sent[0].header("x-user")), (true, None));
    assert_eq!(said(&mut tester, vectors::EXPIRED), "the token has expired");
    assert_eq!(said(&mut tester, vectors::RS256), "passed");
}

#[test]
fn claims_go_to_headers_and_variables() {
    let mut tester = with_set(json!({
        "forward": true,
        "claims_to_headers": {
            "sub": "X-User", "level": "x-level", "roles": "x-roles", "admin": "x-admin", "/realm/name": "x-realm", "none": "x-none"
        },
        "claims_to_variables": { "iss": "issuer" },
    }));
    let req = Request::get("/")
        .with_header("authorization", format!("bearer {}", vectors::EDDSA))
        .with_header("x-user", "root")
        .with_header("x-none", "root");
    let done = tester.run(req, |_| Response::new(200));
    let header = |name| done.sent[0].header(name);
    assert_eq!((header("x-user"), header("x-level"), header("x-none")), (Some("alice"), Some("7"), None));
    assert_eq!((header("x-roles"), header("x-admin")), (Some(r#"["a","b"]"#), Some("true")));
    assert_eq!((header("x-realm"), header("authorization").is_some()), (Some("r1"), true));
    assert_eq!(
        (tester.variable("issuer").as_deref(), tester.variable("jwt.sub")),
        (Some("https://issuer.example"), None)
    );
}

#[test]
fn a_claim_that_would_break_a_header_is_refused() {
    let mut tester = with_set(json!({ "claims_to_headers": { "sub": "x-user" } }));
    assert_eq!(said(&mut tester, vectors::SUB_NEWLINE), "the token has a claim that cannot be handed on");
}

#[test]
fn the_token_may_stand_in_another_header() {
    let mut tester = with_set(json!({ "header": "x-token" }));
    let done = tester.run(Request::get("/").with_header("x-token", vectors::ES256), |_| Response::new(200));
    assert_eq!((done.passed, done.sent[0].headers.len()), (true, 0));
}
