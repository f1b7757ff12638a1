use meshup_sdk::testing::{self, Finished, Tester, json};

use super::*;

// printf %s wonderland | sha256sum
const WONDERLAND: &str = "sha256:a71a7c7011f53a1bab3642ec2ce12593f05230ace8de1e3e7645f69efac1443d";
const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
const EMPTY: &str = "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

fn run(tester: &mut Tester, req: Request) -> Finished {
    tester.run(req, |_| Response::new(200))
}

fn tester() -> Tester {
    testing::filter(api_key).config(
        json!({ "keys": { "alice": [WONDERLAND, ABC.to_uppercase().replace("SHA256", "sha256")], "bob": OTHER } }),
    )
}

fn refused(config: serde_json::Value) -> String {
    testing::filter(api_key).config(config).configure().unwrap_err()
}

#[test]
fn a_known_key_passes_and_tells_whose_it_is() {
    let mut tester = tester();
    let req = Request::get("/").with_header("X-Api-Key", "abc").with_header("x-api-key-identity", "root");
    let done = run(&mut tester, req);
    let sent = &done.sent[0];
    assert!(done.passed);
    assert_eq!((sent.header("x-api-key-identity"), sent.header("x-api-key")), (Some("alice"), None));
    assert_eq!(sent.headers.len(), 1);
    assert_eq!(tester.variable(IDENTITY_VARIABLE).as_deref(), Some("alice"));
}

#[test]
fn missing_and_wrong_keys_look_the_same() {
    let mut tester = tester();
    let mut two = Request::get("/").with_header("x-api-key", "abc");
    two.headers_mut().append("x-api-key", "abc");
    let requests = [Request::get("/"), Request::get("/").with_header("x-api-key", "abd"), two];
    for req in requests {
        let done = run(&mut tester, req);
        assert_eq!((done.status(), done.sent.len()), (401, 0));
        assert_eq!(done.header("www-authenticate"), Some("ApiKey header=\"x-api-key\""));
        assert_eq!(done.text(), "{\"error\":\"unauthorized\",\"message\":\"a valid API key is required\"}\n");
    }
    let logs: Vec<_> = tester.logs().into_iter().map(|line| line.text).collect();
    let missing = "refused: not one key in x-api-key";
    assert_eq!(logs, [missing, "refused: unknown key in x-api-key", missing]);
}

#[test]
fn the_key_may_stand_behind_a_prefix_and_be_forwarded() {
    let config = json!({
        "keys": { "alice": ABC }, "header": "Authorization", "prefix": "Bearer ", "identity_header": "x-user", "forward": true
    });
    let mut tester = testing::filter(api_key).config(config);
    let mut status = |value: &str| run(&mut tester, Request::get("/").with_header("authorization", value)).status();
    assert_eq!((status("bearer abc"), status("Bearerabc"), status("abc"), status("Bea")), (200, 401, 401, 401));
    let done = run(&mut tester, Request::get("/").with_header("authorization", "Bearer abc"));
    assert_eq!(
        (done.sent[0].header("authorization"), done.sent[0].header("x-user")),
        (Some("Bearer abc"), Some("alice"))
    );
    assert_eq!(run(&mut tester, Request::get("/")).header("www-authenticate"), Some("Bearer"));
}

#[test]
fn every_key_of_the_list_is_found() {
    let keys: serde_json::Map<String, serde_json::Value> = (0..40)
        .map(|n| {
            let digest: String =
                crypto::sha256(format!("key {n}").as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
            (format!("user{n}"), format!("sha256:{digest}").into())
        })
        .collect();
    let mut tester = testing::filter(api_key).config(json!({ "keys": keys }));
    for n in 0..40 {
        let done = run(&mut tester, Request::get("/").with_header("x-api-key", format!("key {n}")));
        assert_eq!(done.sent[0].header("x-api-key-identity"), Some(format!("user{n}").as_str()));
    }
}

#[test]
fn plain_keys_are_refused_without_repeating_them() {
    for keys in [json!({ "alice": "s3cret" }), json!({ "alice": [ABC, "sha256:s3cret"] })] {
        let message = refused(json!({ "keys": keys }));
        assert!(message.starts_with("keys.alice"), "{message}");
        assert!(message.contains("printf %s KEY | sha256sum"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn refusals_name_the_key() {
    for (config, expected) in [
        (json!({}), "missing field `keys`"),
        (json!({ "keys": {} }), "keys: empty"),
        (json!({ "keys": { "alice": [] } }), "keys.alice: invalid length 0"),
        (json!({ "keys": { "alice": 5 } }), "keys.alice: invalid type"),
        (json!({ "keys": { "alice": EMPTY } }), "keys.alice: the digest of an empty key"),
        (json!({ "keys": { "a b": ABC } }), r#"keys: "a b" cannot be an identity"#),
        (json!({ "keys": { "alice": ABC, "bob": ABC } }), r#"keys.bob: the same key as one of "alice""#),
        (json!({ "keys": { "alice": ABC }, "header": "a b" }), r#"header: invalid header name "a b""#),
        (json!({ "keys": { "alice": ABC }, "header": "Host" }), r#"header: the header "host" belongs to the proxy"#),
        (json!({ "keys": { "alice": ABC }, "identity_header": "X-API-KEY" }), "identity_header:"),
        (json!({ "keys": { "alice": ABC }, "headers": "x" }), "unknown field `headers`"),
    ] {
        let message = refused(config);
        assert!(message.contains(expected), "{message}");
    }
}
