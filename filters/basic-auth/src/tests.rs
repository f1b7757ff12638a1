use base64::{Engine, engine::general_purpose::STANDARD};
use meshup_sdk::testing::{self, Finished, Tester, json};

use super::*;

// printf %s%s 5f2b0a64c1d94e5bb8d0a7de1f3c9a10 wonderland | sha256sum
const WONDERLAND: &str =
    "sha256:5f2b0a64c1d94e5bb8d0a7de1f3c9a10:cf36574c1adff323ded71597132afa7de53c7308805ab5763a61dc659e5162b6";
const OPEN_SESAME: &str =
    "sha256:0f9be0b5d3f64d6c9a6c2c5b0a1e7d42:C8705E15764823507C99DEE73065BE4F08125C10CF392D1CB4301A3C3F44AAB7";
const EMPTY: &str =
    "sha256:0123456789abcdef0123456789abcdef:3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";

fn tester() -> Tester {
    testing::filter(basic_auth).config(json!({ "passwords": { "alice": WONDERLAND, "Aladdin": OPEN_SESAME } }))
}

fn run(tester: &mut Tester, req: Request) -> Finished {
    tester.run(req, |_| Response::new(200))
}

fn as_user(user: &str, password: &str) -> Request {
    let credentials = STANDARD.encode(format!("{user}:{password}"));
    Request::get("/").with_header("authorization", format!("Basic {credentials}"))
}

fn refused(config: serde_json::Value) -> String {
    testing::filter(basic_auth).config(config).configure().unwrap_err()
}

#[test]
fn a_known_password_passes_and_tells_whose_it_is() {
    let mut tester = tester();
    for (user, password) in [("alice", "wonderland"), ("Aladdin", "open sesame")] {
        let done = run(&mut tester, as_user(user, password).with_header("X-Basic-Auth-Identity", "root"));
        let sent = &done.sent[0];
        assert!(done.passed);
        assert_eq!((sent.header("x-basic-auth-identity"), sent.header("authorization")), (Some(user), None));
        assert_eq!(sent.headers.len(), 1);
        assert_eq!(tester.variable(IDENTITY_VARIABLE).as_deref(), Some(user));
    }
}

#[test]
fn whatever_is_wrong_the_answer_is_the_same() {
    let mut tester = tester();
    let mut two = as_user("alice", "wonderland");
    two.headers_mut().append("authorization", "Basic YTpi");
    let none = "refused: not one user and password in authorization";
    let wrong = "refused: unknown user or wrong password";
    for (req, log) in [
        (Request::get("/"), none),
        (two, none),
        (Request::get("/").with_header("authorization", "Basic !"), none),
        (Request::get("/").with_header("authorization", "Bearer YWxpY2U6d29uZGVybGFuZA=="), none),
        (as_user("alice", "Wonderland"), wrong),
        (as_user("alice", "open sesame"), wrong),
        (as_user("alice", ""), wrong),
        (as_user("Alice", "wonderland"), wrong),
        (as_user("bob", "wonderland"), wrong),
        (as_user("", ""), wrong),
    ] {
        let done = run(&mut tester, req);
        assert_eq!((done.status(), done.sent.len()), (401, 0));
        assert_eq!(done.header("www-authenticate"), Some("Basic realm=\"restricted\", charset=\"UTF-8\""));
        assert_eq!(
            done.text(),
            "{\"error\":\"unauthorized\",\"message\":\"a valid user and password are required\"}\n"
        );
        assert_eq!(tester.logs().last().unwrap().text, log);
        assert_eq!(tester.variable(IDENTITY_VARIABLE), None);
    }
}

#[test]
fn realm_and_header_can_be_chosen_and_the_password_forwarded() {
    let config = json!({ "passwords": { "alice": WONDERLAND }, "realm": "tea party", "identity_header": "X-User", "forward": true });
    let mut tester = testing::filter(basic_auth).config(config);
    let done = run(&mut tester, as_user("alice", "wonderland"));
    let sent = &done.sent[0];
    assert_eq!(sent.header("x-user"), Some("alice"));
    assert_eq!(sent.header("authorization"), Some("Basic YWxpY2U6d29uZGVybGFuZA=="));
    let challenge = "Basic realm=\"tea party\", charset=\"UTF-8\"";
    assert_eq!(run(&mut tester, Request::get("/")).header("www-authenticate"), Some(challenge));
}

#[test]
fn every_user_of_the_list_is_found() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let passwords: serde_json::Map<String, serde_json::Value> = (0..40)
        .map(|n| {
            let salt = format!("{n:032x}");
            let digest = hex(&crypto::sha256(format!("{salt}password {n}").as_bytes()));
            (format!("user{n}"), format!("sha256:{salt}:{digest}").into())
        })
        .collect();
    let mut tester = testing::filter(basic_auth).config(json!({ "passwords": passwords }));
    for n in 0..40 {
        let user = format!("user{n}");
        let done = run(&mut tester, as_user(&user, &format!("password {n}")));
        assert_eq!(done.sent[0].header("x-basic-auth-identity"), Some(&*user));
        assert_eq!(run(&mut tester, as_user(&user, &format!("password {}", n + 1))).status(), 401);
    }
}

#[test]
fn plain_passwords_are_refused_without_repeating_them() {
    let short = WONDERLAND.replace("5f2b", "s3cret");
    for written in ["s3cret", "sha256:s3cret", "sha256:s3cret:s3cret", &short, &format!("{WONDERLAND}s3cret")] {
        let message = refused(json!({ "passwords": { "alice": written } }));
        assert!(message.starts_with("passwords.alice: not the digest of a password"), "{message}");
        assert!(message.contains("| sha256sum"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn refusals_name_the_key() {
    let alice = || json!({ "alice": WONDERLAND });
    for (config, expected) in [
        (json!({}), "missing field `passwords`"),
        (json!({ "passwords": {} }), "passwords: empty"),
        (json!({ "passwords": { "alice": 5 } }), "passwords.alice: invalid type"),
        (json!({ "passwords": { "alice": EMPTY } }), "passwords.alice: the digest of an empty password"),
        (json!({ "passwords": { "a b": WONDERLAND } }), r#"passwords: "a b" cannot be an identity"#),
        (json!({ "passwords": { "a:b": WONDERLAND } }), r#"passwords: "a:b" cannot be an identity"#),
        (json!({ "passwords": { "": WONDERLAND } }), r#"passwords: "" cannot be an identity"#),
        (
            json!({ "passwords": { "alice": WONDERLAND, "bob": WONDERLAND } }),
            r#"passwords.bob: the same salt as "alice""#,
        ),
        (json!({ "passwords": alice(), "realm": "a\"b" }), r#"realm: "a\"b": use visible ASCII"#),
        (json!({ "passwords": alice(), "realm": "a\r\nb: c" }), r#"realm: "a\r\nb: c""#),
        (json!({ "passwords": alice(), "identity_header": "Host" }), r#"identity_header: the header "host" belongs"#),
        (json!({ "passwords": alice(), "identity_header": "Authorization" }), "identity_header: authorization is"),
        (json!({ "passwords": alice(), "users": {} }), "users: unknown field `users`"),
    ] {
        let message = refused(config);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn the_example_of_the_readme_is_accepted() {
    let (_, example) = include_str!("../README.md").split_once("```toml\n").unwrap();
    let example: toml::Table = toml::from_str(example.split_once("```").unwrap().0).unwrap();
    let config = serde_json::to_value(&example["filters"]["users"]["config"]).unwrap();
    let mut tester = testing::filter(basic_auth).config(config);
    assert_eq!(run(&mut tester, as_user("alice", "wonderland")).status(), 200);
}
