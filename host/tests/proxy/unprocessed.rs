//! Requests that an HTTP/2 upstream says it did not process: they are sent once more, elsewhere. All others are not.

use tokio::sync::mpsc;

use crate::support::{
    Client, Origin, Protocol, Proxy, Wire, channel, eventually,
    frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame},
    full, post, soon,
};

const REFUSED_STREAM: u32 = 7;

/// The server's end of a connection whose client begins.
async fn greet(wire: &mut Wire) {
    wire.send(frame(SETTINGS, 0, 0, &[])).await;
    wire.take(24).await;
}

/// The stream of the next frame of a kind.
async fn next(wire: &mut Wire, kind: u8) -> u32 {
    loop {
        let head: [u8; 9] = wire.take(9).await.try_into().unwrap();
        let [a, b, c, of, _, stream @ ..] = head;
        wire.take(u32::from_be_bytes([0, a, b, c]) as usize).await;
        if of == kind {
            return u32::from_be_bytes(stream);
        }
    }
}

fn refusal(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes())
}

/// GOAWAY, with the last stream that is or will be processed.
fn go_away(last: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

/// 200, and no body.
fn answer(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88")
}

/// An origin whose first connection, once it has a request's frame of this kind, says `refusal`; others answer.
async fn refusing(kind: u8, refusal: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static) -> Origin {
    Origin::raw(move |mut wire, number| {
        let refusal = refusal.clone();
        async move {
            greet(&mut wire).await;
            let stream = next(&mut wire, if number == 1 { kind } else { HEADERS }).await;
            let said = if number == 1 { refusal(stream) } else { answer(stream) };
            wire.send(said).await;
            wire.rest().await;
        }
    })
    .await
}

/// What a GET gets, and how many connections that took.
async fn asked(origin: &Origin) -> ((u16, String), usize) {
    let proxy = Proxy::before(origin, Protocol::Http2);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    let (status, error) = answer.outcome();
    ((status, error.to_owned()), origin.connections())
}

#[tokio::test]
async fn case_32_a_refused_stream_is_asked_again_elsewhere() {
    let origin = refusing(HEADERS, refusal).await;
    assert_eq!(asked(&origin).await, ((200, String::new()), 2));
}

#[tokio::test]
async fn case_32_a_stream_beyond_the_last_is_asked_again_elsewhere() {
    let origin = refusing(HEADERS, |_| go_away(0)).await;
    assert_eq!(asked(&origin).await, ((200, String::new()), 2));
}

#[tokio::test]
async fn case_32_a_stream_up_to_the_last_is_never_asked_again() {
    let origin = Origin::raw(|mut wire, _| async move {
        greet(&mut wire).await;
        let stream = next(&mut wire, HEADERS).await;
        // It goes away without an answer.
        wire.send(go_away(stream)).await;
    })
    .await;
    assert_eq!(asked(&origin).await, ((502, "reset".into()), 1));
}

#[tokio::test]
async fn case_32_what_is_refused_again_is_not_asked_a_third_time() {
    let origin = Origin::raw(|mut wire, _| async move {
        greet(&mut wire).await;
        let stream = next(&mut wire, HEADERS).await;
        wire.send(refusal(stream)).await;
        wire.rest().await;
    })
    .await;
    assert_eq!(asked(&origin).await, ((502, "reset".into()), 2));
}

#[tokio::test]
async fn case_32_a_goaway_takes_no_answer_from_the_streams_before_it() {
    let origin = Origin::raw(|mut wire, number| async move {
        greet(&mut wire).await;
        let first = next(&mut wire, HEADERS).await;
        if number == 1 {
            next(&mut wire, HEADERS).await;
            wire.send(go_away(first)).await;
        }
        wire.send(answer(first)).await;
        wire.rest().await;
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http2);
    let client = Client::to(&proxy, Protocol::Http2).await;
    let (first, second) = tokio::join!(client.get("/first"), client.get("/second"));
    assert_eq!((first.status.as_u16(), second.status.as_u16(), origin.connections()), (200, 200, 2));
}

#[tokio::test]
async fn case_32_a_body_that_was_not_read_yet_goes_with_its_request() {
    let (refused, mut first) = mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire, number| {
        let refused = refused.clone();
        async move {
            greet(&mut wire).await;
            let stream = next(&mut wire, HEADERS).await;
            if number == 1 {
                wire.send(refusal(stream)).await;
                let _ = refused.send(());
            } else {
                next(&mut wire, DATA).await;
                wire.send(answer(stream)).await;
            }
            wire.rest().await;
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http2);
    let client = Client::to(&proxy, Protocol::Http2).await;
    let (feed, body) = channel();
    let asking = tokio::spawn(async move { client.exchange(post("/", body)).await });
    soon("the refusal", first.recv()).await.unwrap();
    eventually("another connection", || origin.connections() == 2).await;
    assert!(feed.send("late").await);
    drop(feed);
    assert_eq!(soon("an answer", asking).await.unwrap().outcome(), (200, ""));
}

#[tokio::test]
async fn case_32_a_body_that_was_read_is_not_sent_without_its_beginning() {
    let origin = refusing(DATA, refusal).await;
    let proxy = Proxy::before(&origin, Protocol::Http2);
    let client = Client::to(&proxy, Protocol::Http2).await;
    let answer = client.exchange(post("/", full("all at once"))).await;
    assert_eq!((answer.outcome(), origin.connections()), ((502, "reset"), 1));
}
