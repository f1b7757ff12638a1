//! RFC 9113 section 5.1: the states of streams, their identifiers, how many may be open.

use super::{
    peer::{CANCEL, Event, INITIAL_WINDOW, Peer, REFUSED_STREAM, STREAM_CLOSED, settings},
    place::Place,
    verdict::{Case, Verdict, Verdict::*, get, hold, judge, last_data, long_field, ping, post},
};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, PROTOCOL_ERROR, RST_STREAM, WINDOW_UPDATE, frame,
};

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const CLOSED: &[u32] = &[STREAM_CLOSED];
const EITHER: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
const ROOT: &[u8] = &[0, 0, 0, 0, 255];

fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &get())
}

fn cancel() -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())
}

fn continuation() -> Vec<u8> {
    frame(CONTINUATION, END_HEADERS, 1, &long_field())
}

fn credit(stream: u32, octets: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &octets.to_be_bytes())
}

#[tokio::test]
async fn section_5_1_idle() {
    let error = ConnectionError(PROTOCOL);
    let cases: [Case; 5] = [
        ("5.1 DATA", vec![last_data()], error),
        ("5.1 RST_STREAM", vec![cancel()], error),
        ("5.1 WINDOW_UPDATE", vec![credit(1, 100)], error),
        ("5.1 CONTINUATION", vec![frame(CONTINUATION, END_HEADERS, 1, &get())], error),
        ("5.1 PRIORITY", vec![frame(PRIORITY, 0, 1, ROOT), ping()], Ponged),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_5_1_half_closed() {
    let no_window = settings(&[(INITIAL_WINDOW, 0)]);
    let cases: [Case; 8] = [
        ("5.1 DATA", vec![request(1), last_data()], StreamError(CLOSED)),
        ("5.1 HEADERS", vec![request(1), request(1)], StreamError(CLOSED)),
        ("5.1 CONTINUATION", vec![request(1), frame(CONTINUATION, END_HEADERS, 1, &get())], StreamError(EITHER)),
        ("5.1 WINDOW_UPDATE", vec![no_window.clone(), request(1), credit(1, 1)], Data(1)),
        ("5.1 PRIORITY", vec![no_window, request(1), frame(PRIORITY, 0, 1, ROOT), credit(1, 1)], Data(1)),
        ("5.1 RST_STREAM", vec![request(1), cancel(), ping()], Ponged),
        ("5.1.1 HEADERS of stream 5", vec![request(5), request(5)], StreamError(CLOSED)),
        (
            "6.1 DATA of a POST",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &post()), last_data()],
            StreamError(CLOSED),
        ),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_5_1_closed_by_a_reset() {
    let open = frame(HEADERS, END_HEADERS, 1, &get());
    let cases: [Case; 3] = [
        ("5.1 DATA", vec![open.clone(), cancel(), last_data()], StreamError(CLOSED)),
        ("5.1 HEADERS", vec![open.clone(), cancel(), request(1)], StreamError(CLOSED)),
        ("5.1 CONTINUATION", vec![open, cancel(), continuation()], StreamError(EITHER)),
    ];
    hold(&cases).await;
}

/// Reads until stream 1 ended.
async fn ended(peer: &mut Peer) {
    loop {
        match peer.event().await {
            Event::Frame(frame) if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 => return,
            Event::Frame(_) => {}
            end => panic!("{end:?} instead of an answer"),
        }
    }
}

#[tokio::test]
async fn section_5_1_closed_by_its_end() {
    let cases: [(&str, Vec<u8>, Verdict); 4] = [
        ("DATA", last_data(), StreamError(CLOSED)),
        ("HEADERS", request(1), ConnectionError(CLOSED)),
        ("CONTINUATION", continuation(), ConnectionError(EITHER)),
        ("PRIORITY", [frame(PRIORITY, 0, 1, ROOT), ping()].concat(), Ponged),
    ];
    for place in Place::all().await {
        for (name, sent, verdict) in &cases {
            let mut peer = place.connect().await;
            peer.send(request(1)).await;
            ended(&mut peer).await;
            peer.send(sent).await;
            assert_eq!(judge(&mut peer, *verdict).await, Ok(()), "{name} {}", place.name);
        }
    }
}

#[tokio::test]
async fn section_5_1_1_identifiers() {
    let error = ConnectionError(PROTOCOL);
    let cases: [Case; 2] =
        [("5.1.1 even", vec![request(2)], error), ("5.1.1 smaller", vec![request(5), request(3)], error)];
    hold(&cases).await;
}

#[tokio::test]
async fn section_5_1_2_concurrency() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    for place in Place::all().await {
        let mut peer = place.connect().await;
        let most = peer.settings[&MAX_CONCURRENT_STREAMS];
        peer.set(&[(INITIAL_WINDOW, 0)]).await;
        for number in 0..=most {
            peer.send(request(number * 2 + 1)).await;
        }
        let refused = judge(&mut peer, StreamError(&[PROTOCOL_ERROR, REFUSED_STREAM])).await;
        assert_eq!(refused, Ok(()), "{}", place.name);
    }
}
