//! A last chunk that is not one: the client is told, and the upstream never takes the body for complete.

use crate::support::{Origin, Protocol, Proxy, Wire, eventually};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

#[tokio::test]
async fn a_broken_last_chunk_is_answered_and_completes_nothing() {
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire, _| {
        let sender = sender.clone();
        async move { sender.send(wire.rest().await).unwrap() }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for last in ["0;a\n", "0;a\r\r\n", "0;a\0\r\n", "0;=b\r\n", "0;a=\"b\r\n", "0\n"] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(HEAD).await;
        eventually("the request arrives", || origin.open() == 1).await;
        wire.send(format!("{last}\r\n")).await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{last:?}: {answer}");
        let seen = String::from_utf8(received.recv().await.unwrap()).unwrap();
        assert!(seen.ends_with("\r\n5\r\nhello\r\n"), "{last:?}: {seen}");
    }
}
