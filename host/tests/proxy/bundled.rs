//! The bundled filters in the proxy, over HTTP/1.1 and HTTP/2.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{digest, hmac, rand::SystemRandom, signature};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;

use crate::support::{
    Answer, Client, Message, Origin, Protocol, Proxy, ROUTE, Wire, full, get, post, soon, upstream, with_trailers,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: origin\r\n\r\nok";

/// A proxy whose only route goes through one bundled filter.
pub(crate) fn proxy(origin: &Origin, name: &str, config: &str) -> Proxy {
    Proxy::start(&format!(
        "{ROUTE}filters = [\"{name}\"]\n[filters.{name}]\nmodule = \"builtin:{name}\"\n[filters.{name}.config]\n{config}\n{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

#[tokio::test]
async fn rewrite_changes_path_host_headers_and_upstream() {
    let (origin, mut received) = Origin::canned(OK).await;
    let (next, mut chosen) = Origin::canned(OK).await;
    let config = "strip_prefix = \"/v1\"\npath_prefix = \"/api\"\nhost = \"orders.internal:8080\"\n\
        upstream_by_header = { header = \"x-canary\", values = { \"1\" = \"next\" } }\n\
        request_headers = { remove = [\"x-debug\"], set = { x-team = \"tea\" } }\n\
        response_headers = { remove = [\"server\"], add = { x-added = \"1\" } }\n";
    let config = format!("{config}{}", upstream("next", Protocol::Http1, &[next.address]));
    let proxy = proxy(&origin, "rewrite", &config);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let mut request = get("/v1/orders?limit=1");
        request.headers_mut().insert("x-debug", HeaderValue::from_static("1"));
        let answer = client.exchange(request).await;
        assert_eq!((answer.text(), answer.header("server"), answer.header("x-added")), ("ok", "", "1"));
        let request = received.recv().await.unwrap();
        assert_eq!(request.start, "GET /api/orders?limit=1 HTTP/1.1");
        let fields = ["host", "x-debug", "x-team"].map(|name| request.field(name));
        assert_eq!(fields, [Some("orders.internal:8080"), None, Some("tea")]);
        let mut request = get("/v1");
        request.headers_mut().insert("x-canary", HeaderValue::from_static("1"));
        assert_eq!(client.exchange(request).await.text(), "ok");
        assert_eq!(chosen.recv().await.unwrap().start, "GET /api HTTP/1.1");
    }
}

#[tokio::test]
async fn rewrite_redirects_and_replaces_by_pattern() {
    let (origin, mut received) = Origin::canned(OK).await;
    let redirecting =
        proxy(&origin, "rewrite", "redirect = { scheme = \"https\", host = \"b.example\", status = 308 }");
    let replacing =
        proxy(&origin, "rewrite", "path_regex = { pattern = \"^/user/([a-z]+)/\", replacement = \"/u/$1/\" }");
    for protocol in Protocol::BOTH {
        let answer = Client::to(&redirecting, protocol).await.get("/a?b=c").await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (308, "https://b.example/a?b=c"));
        Client::to(&replacing, protocol).await.get("/user/alice/x?q").await;
        assert_eq!(received.recv().await.unwrap().start, "GET /u/alice/x?q HTTP/1.1");
    }
}

/// What an origin does with one request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answer,
    Busy,
    Reset,
    ResetMidBody,
    Hang,
}

/// An origin with a fate for each request, the last one for all others; and the bodies it got.
async fn fated(fates: &'static [Fate]) -> (Origin, Arc<AtomicUsize>, tokio::sync::mpsc::UnboundedReceiver<Message>) {
    let (bodies, received) = tokio::sync::mpsc::unbounded_channel();
    let count = Arc::<AtomicUsize>::default();
    let counted = count.clone();
    let origin = Origin::raw(move |mut wire: Wire, _| {
        let (bodies, counted) = (bodies.clone(), counted.clone());
        async move {
            while let Some(message) = wire.message().await {
                bodies.send(message).unwrap();
                let at = counted.fetch_add(1, Ordering::SeqCst).min(fates.len() - 1);
                match fates[at] {
                    Fate::Answer => wire.send(OK).await,
                    Fate::Busy => wire.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy").await,
                    Fate::Reset => return wire.reset(),
                    Fate::ResetMidBody => {
                        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
                        return wire.reset();
                    }
                    Fate::Hang => drop(wire.rest().await),
                }
            }
        }
    });
    (origin.await, count, received)
}

const RETRY: &str = "attempts = 3\nmethods = \"*\"\nper_try_timeout = \"100ms\"\n\
                     on = [\"5xx\", \"reset\", \"connect-failure\"]\nbackoff = { base = \"1ms\" }";

#[tokio::test]
async fn retry_asks_again_with_the_same_body_until_there_is_an_answer() {
    for protocol in Protocol::BOTH {
        for fates in [&[Fate::Busy, Fate::Busy, Fate::Answer][..], &[Fate::Reset, Fate::Hang, Fate::Answer]] {
            for streamed in [false, true] {
                let (origin, count, mut received) = fated(fates).await;
                let proxy = proxy(&origin, "retry", RETRY);
                let body = if streamed { with_trailers("content", "x-sum", "1") } else { full("content") };
                let answer = Client::to(&proxy, protocol).await.exchange(post("/", body)).await;
                assert_eq!((answer.outcome(), answer.text()), ((200, ""), "ok"), "{protocol:?} {fates:?} {streamed}");
                assert_eq!(count.load(Ordering::SeqCst), 3);
                for _ in 0..3 {
                    assert_eq!(received.recv().await.unwrap().text(), "content");
                }
            }
        }
    }
}

#[tokio::test]
async fn retry_gives_up_after_its_attempts_and_delivers_the_last_failure() {
    for (fates, outcome) in
        [(&[Fate::Busy][..], (503, "")), (&[Fate::Reset], (502, "reset")), (&[Fate::Hang], (504, "per-try-timeout"))]
    {
        let (origin, count, _received) = fated(fates).await;
        let proxy = proxy(&origin, "retry", RETRY);
        let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
        assert_eq!((answer.outcome(), count.load(Ordering::SeqCst)), (outcome, 3));
    }
}

#[tokio::test]
async fn retry_leaves_a_body_that_breaks_off_alone() {
    for protocol in Protocol::BOTH {
        let (origin, count, _received) = fated(&[Fate::ResetMidBody, Fate::Answer]).await;
        let proxy = proxy(&origin, "retry", RETRY);
        let answer = match Client::to(&proxy, protocol).await.try_send(get("/")).await {
            Ok(response) => Answer::read(response).await,
            Err(error) => Err(error),
        };
        assert!(answer.is_err(), "{protocol:?}: {answer:?}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn api_key_lets_those_pass_who_have_one() {
    let (origin, mut received) = Origin::canned(OK).await;
    let digest = digest::digest(&digest::SHA256, b"secret");
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let proxy = proxy(&origin, "api-key", &format!("keys = {{ alice = \"sha256:{hex}\" }}"));
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        for (key, status) in [("secret", 200), ("Secret", 401), ("", 401)] {
            let mut request = get("/");
            request.headers_mut().insert("x-api-key", HeaderValue::from_str(key).unwrap());
            request.headers_mut().insert("x-api-key-identity", HeaderValue::from_static("mallory"));
            assert_eq!(client.exchange(request).await.status, status, "{key:?}");
        }
        let request = received.recv().await.unwrap();
        assert_eq!((request.field("x-api-key-identity"), request.field("x-api-key")), (Some("alice"), None));
        assert_eq!(client.get("/").await.status, 401);
        assert!(received.try_recv().is_err());
    }
}

/// A token: header, claims and the signature of both.
fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn jwt_lets_those_pass_whose_token_is_good() {
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const CLAIMS: &str = r#"{"sub":"alice","exp":4102444800}"#;
    let hs256 = |secret: &'static [u8]| {
        move |text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text).as_ref().to_vec()
    };
    let scheme = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = signature::EcdsaKeyPair::generate(scheme).unwrap();
    let es256 = |text: &[u8]| key.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec();
    let point = signature::KeyPair::public_key(&key).as_ref();
    let jwk = format!(
        r#"{{"kty":"EC","crv":"P-256","kid":"ec","x":"{}","y":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(&point[1..33]),
        URL_SAFE_NO_PAD.encode(&point[33..])
    );
    let config = format!(
        "claims_to_headers = {{ sub = \"x-user\" }}\njwks = '{{\"keys\":[{jwk}]}}'\n\
         keys = [{{ alg = \"HS256\", kid = \"hs\", secret = \"{}\" }}]",
        std::str::from_utf8(SECRET).unwrap()
    );
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = proxy(&origin, "jwt", &config);
    let good = [
        token(r#"{"alg":"HS256","kid":"hs"}"#, CLAIMS, hs256(SECRET)),
        token(r#"{"alg":"ES256","kid":"ec"}"#, CLAIMS, es256),
        token(r#"{"alg":"ES256"}"#, CLAIMS, es256),
    ];
    let bad = [
        String::new(),
        "rubbish".into(),
        token(r#"{"alg":"none"}"#, CLAIMS, |_| Vec::new()),
        token(r#"{"alg":"HS256","kid":"hs"}"#, CLAIMS, hs256(b"another secret of 32 bytes length")),
        token(r#"{"alg":"HS256","kid":"unknown"}"#, CLAIMS, hs256(SECRET)),
        token(r#"{"alg":"HS256","kid":"ec"}"#, CLAIMS, hs256(SECRET)),
        token(r#"{"alg":"HS256","kid":"hs"}"#, r#"{"sub":"alice","exp":1300819380}"#, hs256(SECRET)),
        token(r#"{"alg":"HS256","kid":"hs"}"#, r#"{"sub":"alice"}"#, hs256(SECRET)),
        token(r#"{"alg":"RS256","kid":"ec"}"#, CLAIMS, es256),
    ];
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        let status = async |token: &str| {
            let mut request = get("/");
            let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            request.headers_mut().insert("authorization", value);
            client.exchange(request).await.status.as_u16()
        };
        for token in &good {
            for _ in 0..2 {
                assert_eq!(status(token).await, 200, "{token}");
                let request = received.recv().await.unwrap();
                assert_eq!((request.field("x-user"), request.field("authorization")), (Some("alice"), None));
            }
        }
        for token in &bad {
            assert_eq!(status(token).await, 401, "{token}");
        }
        assert_eq!(client.get("/").await.header("www-authenticate"), "Bearer");
        assert!(received.try_recv().is_err());
    }
}

#[tokio::test]
async fn telemetry_counts_and_continues_traces() {
    let (origin, mut received) = Origin::canned(OK).await;
    let proxy = proxy(&origin, "telemetry", "response_header = true");
    for protocol in Protocol::BOTH {
        let mut request = post("/", full("content"));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        request.headers_mut().insert("traceparent", HeaderValue::from_static(parent));
        request.headers_mut().insert("x-request-id", HeaderValue::from_static("mine"));
        let answer = Client::to(&proxy, protocol).await.exchange(request).await;
        assert_eq!((answer.text(), answer.header("x-request-id")), ("ok", "mine"));
        let request = received.recv().await.unwrap();
        let trace = request.field("traceparent").unwrap();
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && trace != parent, "{trace}");
        assert_eq!(request.field("x-request-id"), Some("mine"));
    }
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    let counted = async || {
        let metrics = admin.get("/metrics").await;
        let counter = |line: &&str| line.contains("http_requests_total{") && line.contains("telemetry");
        metrics.text().lines().find(counter).map(str::to_owned).filter(|line| line.ends_with(" 2"))
    };
    let line = soon("the metric", async {
        loop {
            if let Some(line) = counted().await {
                return line;
            }
        }
    })
    .await;
    assert!(line.contains("method=\"POST\"") && line.contains("status=\"200\""), "{line}");
}
