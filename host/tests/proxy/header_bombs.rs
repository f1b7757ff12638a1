//! Large request heads in many streams of one HTTP/2 connection: what may wait at a time is bounded.

use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::Request;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet};

use crate::{
    limits::{limited, refused},
    support::{Origin, Protocol, Proxy, eventually, soon},
};

async fn connected(proxy: &Proxy) -> SendRequest<Bytes> {
    let io = TcpStream::connect(proxy.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request whose head has about so many bytes.
fn bomb(bytes: usize) -> Request<()> {
    Request::get("http://a/").header("x-bomb", "x".repeat(bytes)).body(()).unwrap()
}

/// The status of the answer, or why the stream was reset.
async fn outcome(mut sender: SendRequest<Bytes>, request: Request<()>) -> Result<u16, Reason> {
    sender = sender.ready().await.unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    response.await.map(|response| response.status().as_u16()).map_err(|error| error.reason().unwrap())
}

/// Sends `count` bombs at a time; how many were refused before the origin answers any, and then all of the others.
async fn outcomes(sender: &SendRequest<Bytes>, gate: &Semaphore, count: usize, refused: usize) {
    let mut streams = JoinSet::new();
    for _ in 0..count {
        streams.spawn(outcome(sender.clone(), bomb(40 << 10)));
    }
    for _ in 0..refused {
        let outcome = soon("a refusal", streams.join_next()).await.unwrap().unwrap();
        assert_eq!(outcome, Err(Reason::REFUSED_STREAM));
    }
    let more = tokio::time::timeout(Duration::from_millis(200), streams.join_next()).await;
    assert!(more.is_err(), "{more:?}");
    gate.add_permits(count - refused);
    while let Some(outcome) = soon("an answer", streams.join_next()).await {
        assert_eq!(outcome.unwrap(), Ok(200));
    }
}

#[tokio::test]
async fn case_31_heads_that_wait_are_bounded_for_a_connection() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited("http2_connection_heads = \"512KiB\"", origin.address);
    let sender = connected(&proxy).await;
    // Twelve of a bit more than 40 KiB are less than 512 KiB.
    outcomes(&sender, &gate, 50, 38).await;
    refused(&proxy, "http2-heads", 38).await;
    // Heads that were answered count no more.
    outcomes(&sender, &gate, 12, 0).await;
    assert_eq!(origin.requests(), 24);
}

#[tokio::test]
async fn case_31_by_default_a_hundred_streams_pin_no_more_than_the_goal() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited("", origin.address);
    let sender = connected(&proxy).await;
    // 38 of a bit more than 40 KiB are less than 1.5 MiB: 15 KiB for each of 100 streams.
    outcomes(&sender, &gate, 100, 62).await;
    refused(&proxy, "http2-heads", 62).await;
}

#[tokio::test]
async fn a_hundred_streams_with_heads_as_browsers_send_them_are_taken() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited("", origin.address);
    let sender = connected(&proxy).await;
    let mut streams = JoinSet::new();
    for _ in 0..100 {
        streams.spawn(outcome(sender.clone(), bomb(12 << 10)));
    }
    eventually("all requests arrive", || origin.requests() == 100).await;
    gate.add_permits(100);
    while let Some(outcome) = soon("an answer", streams.join_next()).await {
        assert_eq!(outcome.unwrap(), Ok(200));
    }
}

#[tokio::test]
async fn one_head_is_taken_whatever_the_connection_may_keep() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    gate.add_permits(1);
    let proxy = limited("http2_connection_heads = \"8KiB\"", origin.address);
    let sender = connected(&proxy).await;
    assert_eq!(soon("an answer", outcome(sender, bomb(40 << 10))).await, Ok(200));
}

#[tokio::test]
async fn heads_of_streams_that_are_reset_count_no_more() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited("http2_connection_heads = \"64KiB\"", origin.address);
    let sender = connected(&proxy).await;
    let waiting = tokio::spawn(outcome(sender.clone(), bomb(40 << 10)));
    eventually("the request arrives", || origin.requests() == 1).await;
    assert_eq!(soon("a refusal", outcome(sender.clone(), bomb(40 << 10))).await, Err(Reason::REFUSED_STREAM));
    // Dropping the response resets its stream.
    waiting.abort();
    gate.add_permits(2);
    let taken = async { while outcome(sender.clone(), bomb(40 << 10)).await != Ok(200) {} };
    soon("room for a head", taken).await;
}
