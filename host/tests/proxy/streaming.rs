//! Bodies flow: piece by piece, both ways at once, and no faster than their reader.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::support::{Client, Feed, Origin, Protocol, Proxy, channel, get, post, soon};

/// More than every buffer on the way: sockets, HTTP/2 windows, the proxy's own.
const MORE_THAN_BUFFERS: usize = 64 << 20;
const PIECE: usize = 64 << 10;
/// So long without room means that there is none.
const STALL: Duration = Duration::from_millis(300);

/// Feeds until nobody takes more, and says how much was taken.
async fn fill(feed: &Feed) -> usize {
    let mut sent = 0;
    while sent < MORE_THAN_BUFFERS {
        match tokio::time::timeout(STALL, feed.send(vec![7; PIECE])).await {
            Ok(true) => sent += PIECE,
            Ok(false) => panic!("broken off after {sent} bytes"),
            Err(_stalled) => return sent,
        }
    }
    sent
}

/// An origin whose responses are fed by the test.
async fn fed(protocol: Protocol) -> (Origin, mpsc::UnboundedReceiver<Feed>) {
    let (feeds, feed) = mpsc::unbounded_channel();
    let origin = Origin::http(protocol, move |_| {
        let (feed, body) = channel();
        feeds.send(feed).unwrap();
        std::future::ready(Response::new(body))
    });
    (origin.await, feed)
}

/// An origin that hands the bodies of its requests over and never answers.
async fn silent(protocol: Protocol) -> (Origin, mpsc::UnboundedReceiver<Incoming>) {
    let (bodies, body) = mpsc::unbounded_channel();
    let origin = Origin::http(protocol, move |request: Request<Incoming>| {
        bodies.send(request.into_body()).unwrap();
        std::future::pending()
    });
    (origin.await, body)
}

async fn next(body: &mut Incoming) -> Option<Bytes> {
    loop {
        let piece = soon("a piece", body.frame()).await?.unwrap().into_data().unwrap();
        if !piece.is_empty() {
            return Some(piece);
        }
    }
}

#[tokio::test]
async fn request_and_response_flow_at_the_same_time() {
    for client in Protocol::BOTH {
        for upstream in Protocol::BOTH {
            let echo = Origin::http(upstream, |request: Request<Incoming>| async move {
                let (feed, body) = channel();
                tokio::spawn(async move {
                    let mut incoming = request.into_body();
                    while let Some(Ok(frame)) = incoming.frame().await {
                        feed.send(frame.into_data().unwrap()).await;
                    }
                });
                Response::new(body)
            })
            .await;
            let proxy = Proxy::before(&echo, upstream);
            let (feed, body) = channel();
            assert!(feed.send("0").await);
            let mut answer = Client::to(&proxy, client).await.send(post("/", body)).await.into_body();
            for round in ["0", "1", "2"] {
                assert_eq!(next(&mut answer).await.unwrap(), round, "{client:?} {upstream:?}");
                assert!(feed.send((round.parse::<u8>().unwrap() + 1).to_string()).await);
            }
            drop(feed);
            assert_eq!(next(&mut answer).await.unwrap(), "3");
            assert_eq!(next(&mut answer).await, None);
        }
    }
}

#[tokio::test]
async fn a_slow_reader_of_a_response_holds_up_its_origin() {
    for client in Protocol::BOTH {
        for upstream in Protocol::BOTH {
            let (origin, mut feed) = fed(upstream).await;
            let proxy = Proxy::before(&origin, upstream);
            let answer = Client::to(&proxy, client).await.send(get("/")).await;
            let feed = feed.recv().await.unwrap();
            let stalled_at = fill(&feed).await;
            assert!(stalled_at < MORE_THAN_BUFFERS, "{client:?} {upstream:?}: everything was taken");
            drop(feed);
            let all = soon("the rest", answer.into_body().collect()).await.unwrap().to_bytes();
            assert!(all.len() >= stalled_at && all.iter().all(|&byte| byte == 7));
        }
    }
}

#[tokio::test]
async fn a_slow_reader_of_a_request_holds_up_its_client() {
    for client in Protocol::BOTH {
        for upstream in Protocol::BOTH {
            let (origin, mut body) = silent(upstream).await;
            let proxy = Proxy::before(&origin, upstream);
            let client_connection = Client::to(&proxy, client).await;
            let (feed, content) = channel();
            let asking = tokio::spawn(async move { client_connection.try_send(post("/", content)).await });
            let received = body.recv().await.unwrap();
            let stalled_at = fill(&feed).await;
            assert!(stalled_at < MORE_THAN_BUFFERS, "{client:?} {upstream:?}: everything was taken");
            drop(feed);
            let all = soon("the rest", received.collect()).await.unwrap().to_bytes();
            assert!(all.len() >= stalled_at && all.iter().all(|&byte| byte == 7));
            asking.abort();
        }
    }
}

#[tokio::test]
async fn an_origin_learns_that_the_client_went_away() {
    for client in Protocol::BOTH {
        for upstream in Protocol::BOTH {
            let (origin, mut feed) = fed(upstream).await;
            let proxy = Proxy::before(&origin, upstream);
            let connection = Client::to(&proxy, client).await;
            let answer = connection.send(get("/")).await;
            let feed = feed.recv().await.unwrap();
            drop(answer);
            drop(connection);
            soon("the origin's response is given up", feed.abandoned()).await;
        }
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_whole() {
    for client in Protocol::BOTH {
        for upstream in Protocol::BOTH {
            let (origin, mut feed) = fed(upstream).await;
            let proxy = Proxy::before(&origin, upstream);
            let mut answer = Client::to(&proxy, client).await.send(get("/")).await.into_body();
            let feed = feed.recv().await.unwrap();
            assert!(feed.send("half").await);
            assert_eq!(next(&mut answer).await.unwrap(), "half");
            feed.fail().await;
            let outcome = soon("the end", answer.collect()).await;
            assert!(outcome.is_err(), "{client:?} {upstream:?}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_does_not_look_whole() {
    for client in Protocol::BOTH {
        for upstream in Protocol::BOTH {
            let (origin, mut body) = silent(upstream).await;
            let proxy = Proxy::before(&origin, upstream);
            let connection = Client::to(&proxy, client).await;
            let (feed, content) = channel();
            let asking = tokio::spawn(async move { connection.try_send(post("/", content)).await });
            assert!(feed.send("half").await);
            let mut received = body.recv().await.unwrap();
            assert_eq!(next(&mut received).await.unwrap(), "half");
            feed.fail().await;
            let outcome = soon("the end of the request", received.collect()).await;
            assert!(outcome.is_err(), "{client:?} {upstream:?}");
            asking.abort();
        }
    }
}
