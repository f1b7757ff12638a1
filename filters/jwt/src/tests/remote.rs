//! Keys from a URL.

use std::{cell::RefCell, rc::Rc};

use meshup_sdk::testing::Reply;

use super::*;

const UNKNOWN: &str = "the token's key is not known";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What the URL answers next; the test changes it.
#[derive(Clone)]
struct Published(Rc<RefCell<Reply>>);

impl Published {
    fn keys(&self, kids: &[&str]) {
        self.reply(Response::new(200).with_body(set(kids)));
    }

    fn reply(&self, reply: impl Into<Reply>) {
        *self.0.borrow_mut() = reply.into().after(MS);
    }
}

/// The keys of the vectors with these ids.
fn set(kids: &[&str]) -> String {
    let mut set: Value = serde_json::from_str(vectors::JWKS).unwrap();
    set["keys"].as_array_mut().unwrap().retain(|key| kids.contains(&key["kid"].as_str().unwrap()));
    set.to_string()
}

/// A filter whose URL publishes the keys with these ids; and more configuration.
#[allow(clippy::needless_pass_by_value, reason = "a test writes the configuration in place")]
fn fetching(kids: &[&str], more: Value) -> (Tester, Published) {
    let published = Published(Rc::new(RefCell::new(ErrorKind::ConnectFailure.into())));
    published.keys(kids);
    let mut config = json!({ "remote_jwks": { "upstream": "idp", "path": "/keys?v=1" } });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = published.clone();
    let tester = tester(config).on_fetch(move |upstream, sent| {
        assert_eq!((upstream, &*sent.method, &*sent.path), ("idp", "GET", "/keys?v=1"));
        answer.0.borrow().clone()
    });
    (tester, published)
}

/// What is said of the token, and how often the URL was asked for it.
fn asked(tester: &mut Tester, token: &str) -> (String, usize) {
    let done = run(tester, token);
    let said = match done.passed {
        true => "passed".to_owned(),
        false => serde_json::from_slice::<Value>(done.body()).unwrap()["message"].as_str().unwrap().to_owned(),
    };
    (said, done.fetched.len())
}

fn passed(fetches: usize) -> (String, usize) {
    ("passed".to_owned(), fetches)
}

fn unknown(fetches: usize) -> (String, usize) {
    (UNKNOWN.to_owned(), fetches)
}

fn unavailable(fetches: usize) -> (String, usize) {
    ("the keys that verify tokens are not available".to_owned(), fetches)
}

fn fetches(tester: &Tester, result: &str) -> Vec<f64> {
    tester.metric("jwt_jwks_fetches_total", [("result", result)])
}

/// The only key of the shared state that says this.
fn state_key(what: &str) -> String {
    let digest = crypto::sha256(b"idp  /keys?v=1");
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("jwks.{what}.{hex}")
}

#[test]
fn the_first_token_fetches_the_keys_and_later_ones_use_them() {
    let (mut tester, _) = fetching(&["r", "e", "d"], json!({}));
    let missing = tester.run(Request::get("/"), |_| Response::new(200));
    assert_eq!((missing.status(), missing.fetched.len()), (401, 0));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    for token in [vectors::RS256, vectors::ES256, vectors::EDDSA] {
        assert_eq!(asked(&mut tester, token), passed(0));
    }
    assert_eq!(fetches(&tester, "ok"), [1.0]);
    assert_eq!(tester.metric("jwt_jwks_keys", []), [3.0]);
}

#[test]
fn old_keys_are_fetched_again() {
    let (mut tester, published) = fetching(&["r"], json!({}));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    tester.advance(299 * SECOND);
    assert_eq!(asked(&mut tester, vectors::RS256), passed(0));
    published.keys(&["r", "e"]);
    tester.advance(SECOND);
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    assert_eq!(asked(&mut tester, vectors::ES256), passed(0));
}

#[test]
fn a_key_that_is_gone_verifies_no_token_any_more() {
    let (mut tester, published) = fetching(&["r", "e"], json!({}));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    published.keys(&["e"]);
    tester.advance(300 * SECOND);
    assert_eq!(asked(&mut tester, vectors::ES256), passed(1));
    assert_eq!(asked(&mut tester, vectors::RS256).0, "the token's algorithm is not allowed");
}

#[test]
fn while_somebody_fetches_others_go_on_with_the_old_keys() {
    let (mut tester, _) = fetching(&["r"], json!({}));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    tester.advance(300 * SECOND);
    tester.set_state(&state_key("lease"), b"1");
    let done = run(&mut tester, vectors::RS256);
    assert_eq!((done.passed, done.fetched.len(), done.slept.len()), (true, 0, 0));
    assert!(tester.state(&state_key("lease")).is_some());
}

#[test]
fn the_keys_of_another_worker_are_taken_over() {
    let (mut other, _) = fetching(&["r", "e"], json!({}));
    other.advance(SECOND);
    assert_eq!(asked(&mut other, vectors::RS256), passed(1));
    let shared = other.state(&state_key("set")).unwrap();
    let (mut tester, published) = fetching(&["r"], json!({}));
    published.reply(ErrorKind::ConnectFailure);
    tester.set_state(&state_key("set"), &shared);
    assert_eq!(asked(&mut tester, vectors::ES256), passed(0));
    // What is shared is too old for both by now.
    tester.advance(302 * SECOND);
    assert_eq!(asked(&mut tester, vectors::ES256), passed(1));
}

#[test]
fn only_what_is_needed_of_a_set_is_shared() {
    let (mut tester, published) = fetching(&[], json!({}));
    let mut published_set: Value = serde_json::from_str(&set(&["e"])).unwrap();
    published_set["keys"][0]["x5c"] = json!(["certificate".repeat(8000)]);
    published.reply(Response::new(200).with_body(published_set.to_string()));
    assert_eq!(asked(&mut tester, vectors::ES256), passed(1));
    let shared = tester.state(&state_key("set")).unwrap();
    assert!(shared.len() < 300, "{}", shared.len());
}

#[test]
fn an_unknown_key_has_the_set_fetched_once_per_cooldown() {
    let (mut tester, published) = fetching(&["r"], json!({}));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    // It has only just come.
    assert_eq!(asked(&mut tester, vectors::RS256_UNKNOWN_KID), unknown(0));
    tester.advance(SECOND);
    assert_eq!(asked(&mut tester, vectors::RS256_UNKNOWN_KID), unknown(1));
    tester.advance(29 * SECOND);
    published.keys(&["r", "e"]);
    assert_eq!(asked(&mut tester, vectors::RS256_UNKNOWN_KID), unknown(0));
    tester.advance(SECOND);
    assert_eq!(asked(&mut tester, vectors::ES256), passed(1));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(0));
}

#[test]
fn only_a_key_that_may_be_published_has_the_set_fetched() {
    let (mut tester, _) = fetching(&["r"], json!({}));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    tester.advance(SECOND);
    for token in [vectors::NONE, vectors::HS256, vectors::RS512, vectors::RS256_OTHER_KEY, vectors::CRIT] {
        assert_eq!(asked(&mut tester, token).1, 0, "{token}");
    }
}

#[test]
fn a_token_with_a_new_key_waits_for_the_one_who_fetches() {
    let (mut tester, _) = fetching(&["r"], json!({}));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    tester.advance(SECOND);
    tester.set_state(&state_key("lease"), b"1");
    let done = run(&mut tester, vectors::ES256);
    assert_eq!((done.status(), done.fetched.len()), (401, 0));
    let waited: Duration = done.slept.iter().sum();
    assert!((2 * SECOND..2 * SECOND + 200 * MS).contains(&waited), "{waited:?}");
}

#[test]
fn without_keys_there_is_a_503_that_blames_no_token() {
    let (mut tester, published) = fetching(&["r"], json!({}));
    published.reply(ErrorKind::ConnectFailure);
    let done = run(&mut tester, vectors::RS256);
    assert_eq!((done.status(), done.sent.len(), done.header("www-authenticate")), (503, 0, None));
    assert!(done.text().starts_with("{\"error\":\"temporarily_unavailable\""), "{}", done.text());
    assert_eq!(asked(&mut tester, "rubbish").0, "the token is malformed: not three parts");
    assert_eq!(asked(&mut tester, vectors::NONE).0, "the token's algorithm is not allowed");
}

#[test]
fn who_needs_keys_waits_for_the_one_who_fetches_them_first() {
    let (mut tester, _) = fetching(&["r"], json!({}));
    tester.configure().unwrap();
    tester.set_state(&state_key("lease"), b"1");
    let done = run(&mut tester, vectors::RS256);
    assert_eq!((done.status(), done.fetched.len()), (503, 0));
    assert!(done.slept.iter().sum::<Duration>() >= 2 * SECOND);
}

#[test]
fn after_failures_nobody_asks_for_longer_and_longer() {
    let (mut tester, published) = fetching(&["r"], json!({}));
    published.reply(ErrorKind::ConnectFailure);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(asked(&mut tester, vectors::RS256), unavailable(1));
        tester.advance(pause * SECOND - 2 * MS);
        assert_eq!(asked(&mut tester, vectors::RS256), unavailable(0), "{pause} s");
        tester.advance(2 * MS);
    }
    assert_eq!(fetches(&tester, "connect-failure"), [7.0]);
    assert!(tester.logs()[0].text.contains("could not be fetched (connect-failure); not asking for 1 s"));
    published.keys(&["r"]);
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    // A later outage begins anew.
    published.reply(ErrorKind::Timeout);
    tester.advance(300 * SECOND);
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    tester.advance(SECOND);
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
}

#[test]
fn an_outage_does_not_take_the_keys_away() {
    for reply in [
        Reply::error(ErrorKind::ConnectFailure),
        Reply::from(Response::new(200).with_body(set(&["r"]))).after(2001 * MS),
        Response::new(500).into(),
        Response::new(404).with_body(set(&["e"])).into(),
        Response::new(200).with_body("<html>").into(),
        Response::new(200).with_body("{\"keys\":[]}").into(),
        Response::new(200).with_body(set(&["h"])).into(),
        Response::new(200).with_body(" ".repeat((128 << 10) + 1)).into(),
    ] {
        let (mut tester, published) = fetching(&["r"], json!({}));
        assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
        *published.0.borrow_mut() = reply;
        tester.advance(1000 * 3600 * SECOND);
        assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
        assert_eq!(asked(&mut tester, vectors::RS256), passed(0));
        assert_eq!(asked(&mut tester, vectors::RS256_UNKNOWN_KID), unknown(0));
    }
}

#[test]
fn a_set_may_have_128_kib() {
    let (mut tester, published) = fetching(&[], json!({}));
    let set = set(&["r"]);
    let padding = " ".repeat((128 << 10) - set.len());
    published.reply(Response::new(200).with_body(set + &padding));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
}

#[test]
fn secrets_are_not_taken_and_bad_keys_do_not_spoil_the_others() {
    let (mut tester, published) = fetching(&[], json!({}));
    let mut published_set: Value = serde_json::from_str(&set(&["h", "r"])).unwrap();
    let keys = published_set["keys"].as_array_mut().unwrap();
    keys.insert(0, json!({ "kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA" }));
    keys.insert(0, json!("not a key"));
    published.reply(Response::new(200).with_body(published_set.to_string()));
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    assert_eq!(asked(&mut tester, vectors::HS256).0, "the token's algorithm is not allowed");
    assert!(tester.logs().iter().any(|line| line.text.contains("keys[1]")), "{:?}", tester.logs());
}

#[test]
fn the_first_64_keys_of_a_set_count() {
    let filler = json!({ "kty": "EC", "crv": "P-521" });
    for (before, expected) in [(63, "passed"), (64, "the keys that verify tokens are not available")] {
        let (mut tester, published) = fetching(&[], json!({}));
        let mut published_set: Value = serde_json::from_str(&set(&["e"])).unwrap();
        let keys = published_set["keys"].as_array_mut().unwrap();
        keys.splice(0..0, vec![filler.clone(); before]);
        published.reply(Response::new(200).with_body(published_set.to_string()));
        assert_eq!(asked(&mut tester, vectors::ES256).0, expected);
    }
}

#[test]
fn keys_of_the_configuration_count_beside_the_fetched_ones_and_without_them() {
    let more = json!({ "keys": [{ "alg": "HS256", "secret": vectors::SECRET, "kid": "h" }] });
    let (mut tester, published) = fetching(&["r"], more);
    published.reply(ErrorKind::ConnectFailure);
    assert_eq!(asked(&mut tester, vectors::HS256), passed(1));
    assert_eq!(asked(&mut tester, vectors::RS256), unavailable(0));
    published.keys(&["r"]);
    tester.advance(SECOND);
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
    assert_eq!(asked(&mut tester, vectors::HS256), passed(0));
}

#[test]
fn a_client_that_goes_away_leaves_the_fetch_to_the_next() {
    let (mut tester, published) = fetching(&["r"], json!({}));
    published.reply(Reply::client_gone());
    assert!(run(&mut tester, vectors::RS256).cancelled);
    published.keys(&["r"]);
    assert_eq!(asked(&mut tester, vectors::RS256), passed(1));
}

#[test]
fn the_request_names_the_configured_host() {
    let config =
        json!({ "remote_jwks": { "upstream": "idp", "path": "/", "host": "idp.example:8443", "timeout": "3s" } });
    let mut tester = tester(config).on_fetch(|_, _| Response::new(404));
    let done = run(&mut tester, vectors::RS256);
    let sent = &done.fetched[0].1;
    assert_eq!((&*sent.authority, sent.deadline), ("idp.example:8443", Some(3 * SECOND)));
}
