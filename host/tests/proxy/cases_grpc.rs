//! gRPC calls that go wrong, and one that is large: what the client is told is what happened.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Body, Client, Origin, Protocol, Proxy, ROUTE, channel, filter, full, post, soon, upstream,
};

fn call(path: &str, body: Body) -> Request<Body> {
    let mut request = post(path, body);
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("5S"));
    request
}

/// Without filters, and behind one that waits for the response.
fn proxies(origin: &Origin, keys: &str) -> [Proxy; 2] {
    let upstream = upstream("origin", Protocol::Http2, &[origin.address]);
    let filtered = format!("filters = [\"run\"]\n{}", filter("run", "{ run = \"run\" }"));
    [Proxy::start(&format!("{ROUTE}{keys}{upstream}")), Proxy::start(&format!("{ROUTE}{keys}{filtered}{upstream}"))]
}

#[tokio::test]
async fn case_42_a_reset_behind_the_head_is_no_end() {
    let gate = Arc::new(Semaphore::new(0));
    let gated = gate.clone();
    let origin = Origin::http(Protocol::Http2, move |request: Request<Incoming>| {
        let (gated, (feed, body)) = (gated.clone(), channel());
        async move {
            if request.uri().path() == "/good" {
                return Response::new(full("good"));
            }
            tokio::spawn(async move {
                assert!(feed.send("half a mess").await);
                gated.acquire().await.unwrap().forget();
                feed.fail().await;
            });
            Response::new(body)
        }
    })
    .await;
    for proxy in proxies(&origin, "") {
        let client = Client::to(&proxy, Protocol::Http2).await;
        let mut response = client.send(call("/broken", full("m"))).await;
        assert_eq!(response.status(), 200);
        gate.add_permits(1);
        let error = loop {
            match soon("a frame", response.body_mut().frame()).await {
                Some(Ok(frame)) => assert!(frame.is_data(), "trailers of a call that broke off"),
                Some(Err(error)) => break error,
                None => panic!("a clean end"),
            }
        };
        assert!(!error.is_timeout(), "{error}");
        assert_eq!(client.exchange(call("/good", full("m"))).await.text(), "good", "the connection serves on");
    }
}

#[tokio::test]
async fn case_42_a_deadline_that_passes_says_so_and_cancels_the_call() {
    let timeouts = Arc::<AtomicUsize>::default();
    let (gone, mut cancelled) = tokio::sync::mpsc::unbounded_channel();
    let seen = timeouts.clone();
    let origin = Origin::http(Protocol::Http2, move |request: Request<Incoming>| {
        let (seen, gone) = (seen.clone(), gone.clone());
        async move {
            seen.fetch_add(usize::from(request.headers()["grpc-timeout"] == "5S"), Ordering::SeqCst);
            let (feed, body) = channel();
            if request.uri().path() == "/silent" {
                pending::<()>().await;
            }
            tokio::spawn(async move {
                assert!(feed.send("first").await);
                feed.abandoned().await;
                let _ = gone.send(());
            });
            Response::new(body)
        }
    })
    .await;
    for proxy in proxies(&origin, "timeout = \"300ms\"\n") {
        let client = Client::to(&proxy, Protocol::Http2).await;
        let answer = client.exchange(call("/silent", full("m"))).await;
        assert_eq!((answer.outcome(), answer.header("grpc-status")), ((200, "timeout"), "4"));
        let response = client.send(call("/stalls", full("m"))).await;
        assert_eq!(response.status(), 200);
        assert!(Answer::read(response).await.is_err(), "a clean end");
        soon("the service learns of it", cancelled.recv()).await.unwrap();
    }
    assert_eq!(timeouts.load(Ordering::SeqCst), 4, "the client's own deadline is passed on");
}

#[tokio::test]
async fn case_42_a_message_of_16_mib_both_ways() {
    let origin = Origin::http(Protocol::Http2, |request: Request<Incoming>| async move {
        let (feed, body) = channel();
        let mut incoming = request.into_body();
        tokio::spawn(async move {
            while let Some(frame) = incoming.frame().await {
                if !feed.send(frame.unwrap().into_data().unwrap_or_default()).await {
                    return;
                }
            }
            let status = (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
            feed.trailers(HeaderMap::from_iter([status])).await;
        });
        Response::new(body)
    })
    .await;
    let content: Vec<u8> = (0..16 << 20).map(|n: u32| (n / 7) as u8).collect();
    let mut message = vec![0];
    message.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    message.extend(content);
    let message = Bytes::from(message);
    for proxy in proxies(&origin, "") {
        let client = Client::to(&proxy, Protocol::Http2).await;
        let answer = client.exchange(call("/echo", full(message.clone()))).await;
        assert!(answer.body == message, "{} bytes", answer.body.len());
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    }
}
