//! The bundled filter `basic-auth` in the proxy.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Request};

use crate::{
    bundled,
    support::{Body, Client, Origin, Protocol, get},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SALT: &str = "5f2b0a64c1d94e5bb8d0a7de1f3c9a10";

/// As the README's commands make it.
fn password(password: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{SALT}{password}").as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{SALT}:{hex}")
}

fn with_authorization(value: &str) -> Request<Body> {
    let mut request = get("/");
    request.headers_mut().insert("authorization", HeaderValue::from_str(value).unwrap());
    request.headers_mut().insert("x-basic-auth-identity", HeaderValue::from_static("mallory"));
    request
}

#[tokio::test]
async fn basic_auth_lets_those_pass_who_know_their_password() {
    let (origin, mut received) = Origin::canned(OK).await;
    let config = format!("realm = \"tea\"\npasswords.alice = \"{}\"", password("wonder:land\u{a3}"));
    let proxy = bundled::proxy(&origin, "basic-auth", &config);
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        assert_eq!(client.exchange(with_authorization(&basic("alice:wonder:land\u{a3}"))).await.status, 200);
        let request = received.recv().await.unwrap();
        assert_eq!((request.field("x-basic-auth-identity"), request.field("authorization")), (Some("alice"), None));
        for refused in
            [&*basic("alice:wonderland"), &basic("bob:wonder:land\u{a3}"), &basic("alice"), "Basic ???", "Bearer x"]
        {
            let answer = client.exchange(with_authorization(refused)).await;
            assert_eq!(answer.status, 401, "{refused}");
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"tea\", charset=\"UTF-8\"");
        }
        let mut twice = with_authorization(&basic("alice:wonder:land\u{a3}"));
        twice.headers_mut().append("authorization", HeaderValue::from_static("Basic YTpi"));
        assert_eq!(client.exchange(twice).await.status, 401);
        assert_eq!(client.get("/").await.status, 401);
        assert!(received.try_recv().is_err());
    }
}

#[tokio::test]
async fn basic_auth_shows_no_password_to_the_admin_listener() {
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = bundled::proxy(&origin, "basic-auth", &format!("passwords.alice = \"{}\"", password("wonderland")));
    let answer = Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/config").await;
    assert!(answer.text().contains("basic-auth") && !answer.text().contains(SALT), "{}", answer.text());
}
