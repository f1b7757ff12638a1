//! Upstreams that break the rules of HTTP/2: a bad response, which is not the same as a reset.

use crate::support::{Client, Origin, Protocol, Proxy, Wire};

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// A frame of stream 1.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1], payload].concat()
}

/// The client's preface and frames, up to the request's.
async fn request(wire: &mut Wire) {
    const HEADERS: u8 = 1;
    wire.take(24).await;
    loop {
        let head = wire.take(9).await;
        wire.take(usize::from(head[1]) * 256 + usize::from(head[2])).await;
        if head[3] == HEADERS {
            return;
        }
    }
}

/// What becomes of a request whose upstream answers with these bytes.
async fn answered(bytes: Vec<u8>) -> (u16, String) {
    let origin = Origin::raw(move |mut wire, _| {
        let bytes = bytes.clone();
        async move {
            wire.send(SETTINGS).await;
            request(&mut wire).await;
            wire.send(bytes).await;
            wire.rest().await;
        }
    });
    outcome(&origin.await).await
}

async fn outcome(origin: &Origin) -> (u16, String) {
    let proxy = Proxy::before(origin, Protocol::Http2);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    (answer.status.as_u16(), answer.header("x-meshup-error").to_owned())
}

#[tokio::test]
async fn an_answer_that_breaks_http2_is_a_bad_response() {
    for bytes in [
        b"rubbish that is not a frame at all".to_vec(),
        frame(1, 5, b"\xff\xff\xff\xff\xff\xff"),
        frame(1, 5, b""),
        frame(1, 5, b"\x40\x01A\x01a"),
        frame(0, 0, b"data before its head"),
        frame(6, 0, b"a ping of a stream"),
    ] {
        assert_eq!(answered(bytes.clone()).await, (502, "bad-response".into()), "{bytes:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_http1_is_a_bad_response() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.some().await;
        wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        // A close before all is read would be a TCP reset, which may overtake the answer.
        wire.rest().await;
    });
    assert_eq!(outcome(&origin.await).await, (502, "bad-response".into()));
}

#[tokio::test]
async fn a_stream_that_the_upstream_resets_is_a_reset() {
    const REFUSED_NOT: &[u8] = b"\0\0\0\x02";
    assert_eq!(answered(frame(3, 0, REFUSED_NOT)).await, (502, "reset".into()));
}

#[tokio::test]
async fn a_connection_that_ends_is_a_reset() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.send(SETTINGS).await;
        request(&mut wire).await;
    });
    assert_eq!(outcome(&origin.await).await, (502, "reset".into()));
}
