//! RFC 9113 section 6.9: windows.

use super::{
    peer::{FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, INITIAL_WINDOW, settings},
    place::Place,
    verdict::{Case, Verdict::*, get, hold, ping},
};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, SETTINGS, WINDOW_UPDATE, frame};

const MOST: u32 = (1 << 31) - 1;

fn credit(stream: u32, octets: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &octets.to_be_bytes())
}

fn open() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &get())
}

fn request() -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &get())
}

#[tokio::test]
async fn section_6_9_window_update() {
    let protocol = &[PROTOCOL_ERROR];
    let cases: [Case; 5] = [
        ("6.9 of the connection", vec![credit(0, 1), ping()], Ponged),
        ("6.9 of a stream", vec![request(), credit(1, 1)], Answered),
        ("6.9 by nothing", vec![credit(0, 0)], ConnectionError(protocol)),
        ("6.9 by nothing, of a stream", vec![open(), credit(1, 0)], StreamError(protocol)),
        ("6.9 of three bytes", vec![frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], ConnectionError(&[FRAME_SIZE_ERROR])),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_9_1_windows() {
    let cases: [Case; 3] = [
        ("6.9.1 no more than fits", vec![settings(&[(INITIAL_WINDOW, 1)]), request()], Data(1)),
        ("6.9.1 too wide", vec![credit(0, MOST), credit(0, MOST)], GoneAway(FLOW_CONTROL_ERROR)),
        ("6.9.1 too wide, of a stream", vec![open(), credit(1, MOST), credit(1, MOST)], Reset(FLOW_CONTROL_ERROR)),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_9_2_a_window_too_wide() {
    let error = ConnectionError(&[FLOW_CONTROL_ERROR]);
    let cases: [Case; 2] = [
        ("6.9.2 by itself", vec![settings(&[(INITIAL_WINDOW, 1 << 31)])], error),
        ("6.9.2 with what was added", vec![open(), credit(1, 1), settings(&[(INITIAL_WINDOW, MOST)])], error),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_9_2_a_change_reaches_streams_that_are_open() {
    for place in Place::all().await {
        let mut peer = place.connect().await;
        peer.set(&[(INITIAL_WINDOW, 0)]).await;
        peer.next(SETTINGS).await;
        peer.send(request()).await;
        peer.set(&[(INITIAL_WINDOW, 1)]).await;
        peer.next(SETTINGS).await;
        assert_eq!(peer.next(DATA).await.payload.len(), 1, "{}", place.name);
    }
}

#[tokio::test]
async fn section_6_9_2_a_window_may_be_negative() {
    for place in Place::all().await {
        let mut peer = place.connect().await;
        peer.set(&[(INITIAL_WINDOW, 3)]).await;
        peer.next(SETTINGS).await;
        peer.send(request()).await;
        assert_eq!(peer.next(DATA).await.payload.len(), 3, "{}", place.name);
        peer.set(&[(INITIAL_WINDOW, 2)]).await;
        peer.next(SETTINGS).await;
        peer.send(credit(1, 2)).await;
        assert_eq!(peer.next(DATA).await.payload.len(), 1, "{}", place.name);
    }
}
