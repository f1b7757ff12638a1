//! `max_control_frames`: how many frames without work an HTTP/2 client may send, and what sound clients do that is far from
//! it.

use http::Response;

use crate::{
    limits::{limited, refused},
    support::{
        Origin, Protocol, Proxy, ROUTE, channel, eventually,
        frames::{
            DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, HEADERS, Outcome, PING, PRIORITY, RST_STREAM,
            SETTINGS, WINDOW_UPDATE, block, frame, get_with, headers,
        },
        full, upstream,
    },
};

const LIMIT: &str = "max_control_frames = 100";

async fn origin(body: &'static [u8]) -> Origin {
    Origin::http(Protocol::Http1, move |_| async move { Response::new(full(body)) }).await
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8])
}

fn request(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &get_with(&[]))
}

/// Room for so many bytes more, of a stream and of the connection.
fn room(stream: u32, bytes: u32) -> Vec<u8> {
    [frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()), frame(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())].concat()
}

#[tokio::test]
async fn as_many_as_are_allowed_are_taken() {
    let origin = origin(b"ok").await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    // The first two are the client's settings and its word on the proxy's.
    frames.settled().await;
    frames.send([ping().repeat(98), request(1)].concat()).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
}

#[tokio::test]
async fn more_than_are_allowed_end_the_connection_and_are_counted() {
    let (origin, _gate) = Origin::gated(Protocol::Http1).await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    frames.send(request(1)).await;
    eventually("the request is upstream", || origin.requests() == 1).await;
    frames.send(ping().repeat(200)).await;
    assert_eq!(frames.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM));
    eventually("the upstream request is given up", || origin.open() == 0).await;
    refused(&proxy, "http2-control-frames", 1).await;
}

#[tokio::test]
async fn a_flood_that_comes_byte_by_byte_is_the_same() {
    let origin = origin(b"ok").await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    let flood = frame(0x42, 0, 1, b"x").repeat(200);
    for byte in flood.chunks(1) {
        if !frames.send(byte).await {
            break;
        }
    }
    assert_eq!(frames.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_flood_within_a_header_block_is_a_fault_of_the_protocol() {
    let origin = origin(b"ok").await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    let begun = frame(HEADERS, END_STREAM, 1, &block(&get_with(&[])));
    frames.send([begun, frame(0x42, 0, 1, &[0; 255]).repeat(300)].concat()).await;
    assert!(frames.outcome(0).await.is_protocol_error());
}

#[tokio::test]
async fn requests_give_back_what_was_spent() {
    let origin = origin(b"ok").await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    for stream in (1..40).step_by(2) {
        frames.send([ping().repeat(60), request(stream)].concat()).await;
        assert_eq!(frames.outcome(stream).await, Outcome::Status(200));
    }
}

#[tokio::test]
async fn a_download_in_small_steps_goes_on() {
    const LENGTH: usize = 4 << 20;
    static BODY: [u8; LENGTH] = [b'x'; LENGTH];
    let origin = origin(&BODY).await;
    let proxy = limited("max_control_frames = 1000", origin.address);
    let mut frames = Frames::to(&proxy).await;
    frames.send(request(1)).await;
    let mut received = 0;
    while received < LENGTH {
        let (kind, _, payload) = frames.next().await.expect("the download goes on");
        if kind == DATA {
            received += payload.len();
            let updates: Vec<u8> = payload.chunks(512).flat_map(|part| room(1, part.len() as u32)).collect();
            frames.send(updates).await;
        }
    }
    frames.send(request(3)).await;
    assert_eq!(frames.outcome(3).await, Outcome::Status(200));
}

#[tokio::test]
async fn a_stream_of_small_messages_may_have_a_ping_for_each() {
    let (feed, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let body = std::sync::Arc::new(body);
    let origin = Origin::http(Protocol::Http1, move |_| {
        let body = body.lock().unwrap().take();
        async move { Response::new(body.unwrap_or_else(|| full("ok"))) }
    })
    .await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    frames.send(request(1)).await;
    for _ in 0..500 {
        assert!(feed.send("hello").await);
        while frames.next().await.expect("the stream goes on").0 != DATA {}
        frames.send([ping(), room(1, 5)].concat()).await;
    }
    frames.send(request(3)).await;
    assert_eq!(frames.outcome(3).await, Outcome::Status(200));
}

#[tokio::test]
async fn an_upload_may_have_pings_between_its_parts() {
    let origin = Origin::http(Protocol::Http1, |request| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        Response::new(full("ok"))
    })
    .await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    frames.send(headers(1, 0, &get_with(&[]))).await;
    for _ in 0..200 {
        frames.send([frame(DATA, 0, 1, &[b'x'; 300]), ping().repeat(5)].concat()).await;
    }
    frames.send(frame(DATA, END_STREAM, 1, &[])).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
}

#[tokio::test]
async fn a_browser_that_begins_with_priorities_is_served() {
    let origin = origin(b"ok").await;
    let proxy = limited(LIMIT, origin.address);
    let mut frames = Frames::to(&proxy).await;
    // Firefox up to 100 groups its streams under idle ones, and moves them about later.
    let groups = [(3, 0, 200), (5, 0, 100), (7, 0, 0), (9, 7, 0), (11, 3, 0), (13, 0, 240)];
    let mut said = frame(SETTINGS, 0, 0, &[0, 4, 0, 2, 0, 0]);
    said.extend(frame(WINDOW_UPDATE, 0, 0, &12_517_377_u32.to_be_bytes()));
    for (stream, on, weight) in groups {
        said.extend(frame(PRIORITY, 0, stream, &[&u32::to_be_bytes(on)[..], &[weight]].concat()));
    }
    frames.send(said).await;
    for stream in (15..215).step_by(2) {
        let head = [&[0, 0, 0, 13, 41][..], &block(&get_with(&[]))].concat();
        let moved = frame(PRIORITY, 0, stream, &[0, 0, 0, 3, 21]);
        frames.send([frame(HEADERS, END_STREAM | END_HEADERS | 0x20, stream, &head), moved].concat()).await;
        assert_eq!(frames.outcome(stream).await, Outcome::Status(200));
    }
}

#[tokio::test]
async fn a_client_that_gives_up_each_request_is_served_on() {
    let origin = origin(b"ok").await;
    let keys = format!("{ROUTE}{}", upstream("origin", Protocol::Http1, &[origin.address]));
    let proxy = Proxy::start(&keys);
    let mut frames = Frames::to(&proxy).await;
    for stream in (1..1001).step_by(2) {
        frames.send(request(stream)).await;
        assert_eq!(frames.outcome(stream).await, Outcome::Status(200));
        frames.send(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
    }
}
