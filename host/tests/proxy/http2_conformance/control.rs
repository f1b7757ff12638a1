//! RFC 9113 sections 6.3, 6.4 and 8.4, and RFC 7540 section 5.3.1: priorities, resets and pushes.

use super::{
    peer::{CANCEL, FRAME_SIZE_ERROR, PRIORITIZED, PUSH_PROMISE},
    verdict::{Case, Verdict::*, get, hold, ping},
};
use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS, PRIORITY, PROTOCOL_ERROR, RST_STREAM, frame};

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];

fn request() -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &get())
}

/// What a stream depends on, and its weight.
fn priority(on: u32, weight: u8) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[weight]].concat()
}

#[tokio::test]
async fn section_6_3_priority() {
    let exclusive = priority(1 << 31, 0);
    let cases: [Case; 7] = [
        ("6.3 the least", vec![frame(PRIORITY, 0, 1, &priority(0, 0)), request()], Answered),
        ("6.3 the most", vec![frame(PRIORITY, 0, 1, &priority(0, 255)), request()], Answered),
        ("6.3 on another", vec![frame(PRIORITY, 0, 3, &priority(1, 0)), request()], Answered),
        ("6.3 alone", vec![frame(PRIORITY, 0, 1, &exclusive), request()], Answered),
        ("6.3 of a later stream", vec![frame(PRIORITY, 0, 3, &priority(0, 255)), request()], Answered),
        ("6.3 of stream 0", vec![frame(PRIORITY, 0, 0, &priority(0, 255))], ConnectionError(PROTOCOL)),
        (
            "6.3 of four bytes",
            vec![request(), frame(PRIORITY, 0, 1, &[0x80, 0, 0, 1])],
            StreamError(&[FRAME_SIZE_ERROR]),
        ),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_5_3_1_dependencies() {
    let head = [priority(1, 255), get()].concat();
    let cases: [Case; 2] = [
        (
            "5.3.1 a head on itself",
            vec![frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1, &head)],
            StreamError(PROTOCOL),
        ),
        ("5.3.1 a stream on itself", vec![frame(PRIORITY, 0, 1, &priority(1, 255))], StreamError(PROTOCOL)),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_4_rst_stream() {
    let cancel = CANCEL.to_be_bytes();
    let open = frame(HEADERS, END_HEADERS, 1, &get());
    let cases: [Case; 4] = [
        ("6.4 ends a stream", vec![open, frame(RST_STREAM, 0, 1, &cancel), ping()], Ponged),
        ("6.4 of stream 0", vec![frame(RST_STREAM, 0, 0, &cancel)], ConnectionError(PROTOCOL)),
        ("6.4 of an idle stream", vec![frame(RST_STREAM, 0, 1, &cancel)], ConnectionError(PROTOCOL)),
        ("6.4 of three bytes", vec![request(), frame(RST_STREAM, 0, 1, &[0; 3])], StreamError(&[FRAME_SIZE_ERROR])),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_8_4_a_client_cannot_push() {
    let promise = [&3_u32.to_be_bytes()[..], &get()].concat();
    let cases: [Case; 2] = [
        ("8.4 of an idle stream", vec![frame(PUSH_PROMISE, END_HEADERS, 1, &promise)], ConnectionError(PROTOCOL)),
        (
            "8.4 of an open stream",
            vec![frame(HEADERS, END_HEADERS, 1, &get()), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)],
            ConnectionError(PROTOCOL),
        ),
    ];
    hold(&cases).await;
}
