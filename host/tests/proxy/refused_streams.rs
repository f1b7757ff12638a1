//! Streams that are refused, each counted by why.

use crate::{
    limits::{limited, refused},
    support::{
        Client, Origin, Protocol, Proxy,
        frames::{END_STREAM, Frames, Outcome, get_with, headers},
    },
};

const REFUSED_STREAM: u32 = 7;

/// How often `reason` was counted, once everything before was.
async fn counted(proxy: &Proxy, reason: &str) -> bool {
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    admin.get("/metrics").await.text().contains(&format!("reason=\"{reason}\""))
}

#[tokio::test]
async fn streams_up_to_the_limit_are_taken_and_none_is_counted() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited("max_streams = 3", origin.address);
    let mut frames = Frames::to(&proxy).await;
    gate.add_permits(3);
    frames.send([1, 3, 5].map(|stream| headers(stream, END_STREAM, &get_with(&[]))).concat()).await;
    let mut answered = 0;
    while answered < 3 {
        let (kind, ..) = frames.next().await.expect("the connection goes on");
        answered += usize::from(kind == crate::support::frames::HEADERS);
    }
    assert!(!counted(&proxy, "max-streams").await);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_counted() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited("max_streams = 3", origin.address);
    let mut frames = Frames::to(&proxy).await;
    for stream in [1, 3, 5, 7, 9] {
        frames.send(headers(stream, END_STREAM, &get_with(&[]))).await;
    }
    assert_eq!(frames.outcome(7).await, Outcome::Reset(REFUSED_STREAM));
    assert_eq!(frames.outcome(9).await, Outcome::Reset(REFUSED_STREAM));
    refused(&proxy, "max-streams", 2).await;
    gate.add_permits(3);
    assert_eq!(frames.outcome(5).await, Outcome::Status(200));
}

#[tokio::test]
async fn streams_whose_heads_are_too_much_are_not_counted_twice() {
    let (origin, _gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited("max_streams = 3, http2_connection_heads = \"8KiB\"", origin.address);
    let mut frames = Frames::to(&proxy).await;
    let value = [b'x'; 6000];
    for stream in [1, 3] {
        frames.send(headers(stream, END_STREAM, &get_with(&[(b"x", &value)]))).await;
    }
    assert_eq!(frames.outcome(3).await, Outcome::Reset(REFUSED_STREAM));
    refused(&proxy, "http2-heads", 1).await;
    assert!(!counted(&proxy, "max-streams").await);
    for stream in [5, 7, 9] {
        frames.send(headers(stream, END_STREAM, &get_with(&[]))).await;
    }
    assert_eq!(frames.outcome(9).await, Outcome::Reset(REFUSED_STREAM));
    refused(&proxy, "max-streams", 1).await;
}
