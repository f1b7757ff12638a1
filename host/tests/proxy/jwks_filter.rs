//! The bundled filter `jwt` with keys from a URL, in the proxy with two workers.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::support::{Body, Client, Origin, Protocol, Proxy, ROUTE, full, get, soon, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An issuer's key.
struct Key {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    fn jwk(&self) -> String {
        let point = self.pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        format!(r#"{{"kty":"EC","crv":"P-256","use":"sig","kid":"{}","x":"{x}","y":"{y}"}}"#, self.kid)
    }

    fn token(&self, subject: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.kid));
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{subject}","exp":4102444800}}"#));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An identity provider: what it publishes, or nothing while it is out of order.
#[derive(Clone, Default)]
struct Published(Arc<Mutex<Option<String>>>);

impl Published {
    fn keys(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        *self.0.lock().unwrap() = Some(format!(r#"{{"keys":[{}]}}"#, keys.join(",")));
    }

    fn fails(&self) {
        *self.0.lock().unwrap() = None;
    }

    async fn serve(&self) -> Origin {
        let published = self.clone();
        Origin::http(Protocol::Http1, move |request: Request<Incoming>| {
            let published = published.0.lock().unwrap().clone();
            async move {
                assert_eq!(request.uri(), "/keys");
                Response::builder()
                    .status(if published.is_some() { 200 } else { 500 })
                    .body(full(published.unwrap_or_default()))
                    .unwrap()
            }
        })
        .await
    }
}

fn proxy(origin: &Origin, provider: &Origin, more: &str) -> Proxy {
    isolated_proxy(origin, provider, "worker", more)
}

fn isolated_proxy(origin: &Origin, provider: &Origin, isolation: &str, more: &str) -> Proxy {
    Proxy::start(&format!(
        "workers = 2\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{ROUTE}filters = [\"jwt\"]\n\
         [filters.jwt]\nmodule = \"builtin:jwt\"\nisolation = \"{isolation}\"\n\
         limits = {{ cpu_per_call = \"2s\" }}\n[filters.jwt.config]\n\
         claims_to_headers = {{ sub = \"x-user\" }}\n\
         remote_jwks = {{ upstream = \"idp\", path = \"/keys\"{more} }}\n{}{}",
        upstream("idp", Protocol::Http1, &[provider.address]),
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

fn with_token(token: &str) -> Request<Body> {
    let mut request = get("/");
    request.headers_mut().insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    request
}

async fn status(proxy: &Proxy, token: &str) -> u16 {
    Client::to(proxy, Protocol::Http1).await.exchange(with_token(token)).await.status.as_u16()
}

/// Asks until the answer has that status.
async fn until_status(proxy: &Proxy, token: &str, wanted: u16) {
    soon("the status", async { while status(proxy, token).await != wanted {} }).await;
}

#[tokio::test]
async fn jwks_are_fetched_once_for_all_who_need_them() {
    const MANY: usize = 40;
    let (key, published) = (Key::new("a"), Published::default());
    published.keys(&[&key]);
    let provider = published.serve().await;
    let origin = Origin::http(Protocol::Http1, |request: Request<Incoming>| async move {
        Response::new(full(request.headers()["x-user"].to_str().unwrap().to_owned()))
    })
    .await;
    let proxy = proxy(&origin, &provider, "");
    let mut exchanges = Vec::new();
    for n in 0..MANY {
        let client = Client::to(&proxy, Protocol::BOTH[n % 2]).await;
        let request = with_token(&key.token(&format!("user{n}")));
        exchanges.push(tokio::spawn(async move { client.exchange(request).await }));
    }
    for (n, exchange) in exchanges.into_iter().enumerate() {
        assert_eq!(soon("an exchange", exchange).await.unwrap().text(), format!("user{n}"));
    }
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn jwks_with_a_new_key_are_fetched_for_the_first_token_of_it() {
    let (old, new, published) = (Key::new("old"), Key::new("new"), Published::default());
    published.keys(&[&old]);
    let (provider, (origin, _received)) = (published.serve().await, Origin::canned(OK).await);
    let proxy = proxy(&origin, &provider, ", cooldown = \"10ms\"");
    assert_eq!((status(&proxy, &old.token("alice")).await, status(&proxy, &new.token("alice")).await), (200, 401));
    published.keys(&[&new]);
    until_status(&proxy, &new.token("alice"), 200).await;
    assert_eq!(status(&proxy, &Key::new("new").token("mallory")).await, 401);
    // The other worker takes the set over when it is asked about the old key's successor.
    until_status(&proxy, &new.token("bob"), 200).await;
}

#[tokio::test]
async fn jwks_outlive_their_provider() {
    let (key, published) = (Key::new("a"), Published::default());
    published.keys(&[&key]);
    let (provider, (origin, _received)) = (published.serve().await, Origin::canned(OK).await);
    let proxy = proxy(&origin, &provider, ", refresh = \"1us\", timeout = \"500ms\"");
    assert_eq!(status(&proxy, &key.token("alice")).await, 200);
    published.fails();
    for n in 0..20 {
        assert_eq!(status(&proxy, &key.token(&format!("user{n}"))).await, 200);
    }
    provider.close_connections();
    drop(provider);
    for n in 0..20 {
        assert_eq!(status(&proxy, &key.token(&format!("user{n}"))).await, 200);
    }
}

#[tokio::test]
async fn jwks_that_nobody_has_make_a_503_until_there_are_some() {
    let (key, published) = (Key::new("a"), Published::default());
    let (provider, (origin, mut received)) = (published.serve().await, Origin::canned(OK).await);
    let proxy = proxy(&origin, &provider, "");
    let token = key.token("alice");
    for _ in 0..10 {
        assert_eq!(status(&proxy, &token).await, 503);
    }
    // A back-off of one second: the few requests took less.
    assert!(provider.requests() <= 2, "{}", provider.requests());
    assert!(received.try_recv().is_err());
    published.keys(&[&key]);
    until_status(&proxy, &token, 200).await;
    assert_eq!(received.recv().await.unwrap().field("x-user"), Some("alice"));
}

#[tokio::test]
async fn jwks_too_large_to_be_shared_are_fetched_by_each_worker() {
    let (key, published) = (Key::new("a"), Published::default());
    let filler = format!(r#"{{"kty":"EC","crv":"P-521","kid":"{}"}}"#, "x".repeat(70 << 10));
    *published.0.lock().unwrap() = Some(format!(r#"{{"keys":[{filler},{}]}}"#, key.jwk()));
    let (provider, (origin, _received)) = (published.serve().await, Origin::canned(OK).await);
    let proxy = proxy(&origin, &provider, "");
    for n in 0..40 {
        assert_eq!(status(&proxy, &key.token(&format!("user{n}"))).await, 200);
    }
    assert!((1..=2).contains(&provider.requests()), "{}", provider.requests());
}

#[tokio::test]
async fn jwks_last_longer_than_an_instance() {
    let (key, published) = (Key::new("a"), Published::default());
    published.keys(&[&key]);
    let (provider, (origin, _received)) = (published.serve().await, Origin::canned(OK).await);
    let proxy = isolated_proxy(&origin, &provider, "exchange", "");
    for n in 0..5 {
        assert_eq!(status(&proxy, &key.token(&format!("user{n}"))).await, 200);
    }
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn jwks_survive_a_client_that_goes_away_while_they_are_fetched() {
    let (key, asked) = (Key::new("a"), Arc::new(Semaphore::new(0)));
    let document = format!(r#"{{"keys":[{}]}}"#, key.jwk());
    let provider = {
        let asked = Arc::clone(&asked);
        Origin::http(Protocol::Http1, move |_| {
            let (asked, document) = (Arc::clone(&asked), document.clone());
            async move {
                // The first one never gets an answer.
                asked.add_permits(1);
                if asked.available_permits() == 1 {
                    std::future::pending::<()>().await;
                }
                Response::new(full(document))
            }
        })
    }
    .await;
    let (origin, _received) = Origin::canned(OK).await;
    let proxy = proxy(&origin, &provider, ", timeout = \"15s\"");
    let client = Client::to(&proxy, Protocol::Http2).await;
    let request = with_token(&key.token("alice"));
    let gone = tokio::spawn(async move { client.exchange(request).await });
    drop(soon("the first question", asked.acquire()).await);
    gone.abort();
    until_status(&proxy, &key.token("bob"), 200).await;
}
