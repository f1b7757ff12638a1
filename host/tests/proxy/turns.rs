//! What the task of an HTTP/2 connection writes in one turn.

use crate::support::{
    Protocol, Proxy, ROUTE, filter,
    frames::{DATA, END_STREAM, Frames, get_with, headers},
    upstream,
};

#[tokio::test]
async fn responses_of_one_turn_come_together() {
    // The HTTP/2 library flushes behind each body of this length.
    let answers = filter("f", "{ respond-at-length = 300 }");
    let upstream = upstream("origin", Protocol::Http1, &["127.0.0.1:9".parse().unwrap()]);
    let proxy = Proxy::start(&format!("{ROUTE}filters = [\"f\"]\n{answers}{upstream}"));
    let mut frames = Frames::to(&proxy).await;
    frames.settled().await;
    let streams = [1, 3, 5, 7, 9, 11, 13, 15];
    frames.send(streams.map(|stream| headers(stream, END_STREAM, &get_with(&[]))).concat()).await;
    let mut bodies = 0;
    while bodies == 0 {
        let (kind, ..) = frames.next().await.expect("the connection goes on");
        bodies += usize::from(kind == DATA);
    }
    while let Some((kind, ..)) = frames.at_hand() {
        bodies += usize::from(kind == DATA);
    }
    assert_eq!(bodies, streams.len());
}
