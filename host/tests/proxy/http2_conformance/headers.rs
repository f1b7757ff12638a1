//! RFC 9113 sections 6.1, 6.2 and 8.1: messages as frames.

use super::{
    peer::{PADDED, PRIORITIZED, STREAM_CLOSED},
    verdict::{Case, Verdict::*, get, hold, last_data, long_field, post, request},
};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, PROTOCOL_ERROR, block, frame,
};

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const ROOT: &[u8] = &[0, 0, 0, 0, 255];
const WHOLE: u8 = END_HEADERS | END_STREAM;

#[tokio::test]
async fn section_6_1_data() {
    let open = frame(HEADERS, END_HEADERS, 1, &post());
    let part = frame(DATA, 0, 1, b"test");
    let measured = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", &[(b"content-length", b"4")])));
    let padded = frame(DATA, END_STREAM | PADDED, 1, b"\x06testpadded");
    let cases: [Case; 8] = [
        ("6.1 one frame", vec![open.clone(), last_data()], Answered),
        ("6.1 two frames", vec![open.clone(), part.clone(), last_data()], Answered),
        ("6.1 an empty end", vec![open.clone(), part, frame(DATA, END_STREAM, 1, &[])], Answered),
        ("6.1 padded", vec![open.clone(), padded.clone()], Answered),
        ("6.1 padded, with a length", vec![measured.clone(), padded], Answered),
        ("6.1 of stream 0", vec![frame(DATA, END_STREAM, 0, b"test")], ConnectionError(PROTOCOL)),
        (
            "6.1 more padding than frame",
            vec![measured, frame(DATA, END_STREAM | PADDED, 1, b"\x06test")],
            ConnectionError(PROTOCOL),
        ),
        ("6.1 behind the end", vec![open, last_data(), last_data()], StreamError(&[STREAM_CLOSED])),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_2_headers() {
    let get = get();
    let padded = |padding: u8, zeros: usize| [&[padding], &get[..], &vec![0; zeros]].concat();
    let begun = frame(HEADERS, 0, 1, &get);
    let end = frame(CONTINUATION, END_HEADERS, 1, &long_field());
    let too_much = u8::try_from(get.len() + 2).unwrap();
    let error = ConnectionError(PROTOCOL);
    let cases: [Case; 8] = [
        ("6.2 plain", vec![frame(HEADERS, WHOLE, 1, &get)], Answered),
        ("6.2 padded", vec![frame(HEADERS, WHOLE | PADDED, 1, &padded(8, 8))], Answered),
        ("6.2 with a priority", vec![frame(HEADERS, WHOLE | PRIORITIZED, 1, &[ROOT, &get].concat())], Answered),
        (
            "6.2 padded and with a priority",
            vec![frame(HEADERS, WHOLE | PRIORITIZED | PADDED, 1, &[&[2], ROOT, &get, &[0; 2]].concat())],
            Answered,
        ),
        ("6.2 PRIORITY within", vec![begun.clone(), frame(PRIORITY, 0, 1, ROOT), end.clone()], error),
        ("6.2 another's HEADERS within", vec![begun, frame(HEADERS, WHOLE, 3, &get), end], error),
        ("6.2 of stream 0", vec![frame(HEADERS, WHOLE, 0, &get)], error),
        (
            "6.2 more padding than frame",
            vec![frame(HEADERS, WHOLE | PADDED, 1, &padded(too_much, 0))],
            StreamError(PROTOCOL),
        ),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_8_1_messages() {
    let open = frame(HEADERS, END_HEADERS, 1, &post());
    let announced = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", &[(b"trailer", b"x-test")])));
    let part = frame(DATA, 0, 1, b"test");
    let trailers = block(&[(b"x-test", b"ok")]);
    let head = frame(HEADERS, WHOLE, 1, &block(&request("HEAD", &[])));
    let cases: [Case; 6] = [
        ("8.1 GET", vec![frame(HEADERS, WHOLE, 1, &get())], Answered),
        ("8.1 HEAD", vec![head], Answered),
        ("8.1 POST", vec![open.clone(), last_data()], Answered),
        ("8.1 POST with trailers", vec![announced, part.clone(), frame(HEADERS, WHOLE, 1, &trailers)], Answered),
        ("8.1 trailers alone", vec![open.clone(), frame(HEADERS, WHOLE, 1, &trailers)], Answered),
        (
            "8.1 trailers that are no end",
            vec![open, part, frame(HEADERS, END_HEADERS, 1, &trailers)],
            StreamError(PROTOCOL),
        ),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_8_1_1_a_body_not_as_long_as_it_says() {
    let measured =
        |length: &[u8]| frame(HEADERS, END_HEADERS, 1, &block(&request("POST", &[(b"content-length", length)])));
    let part = frame(DATA, 0, 1, b"test");
    let cases: [Case; 4] = [
        ("8.1.1 longer", vec![measured(b"1"), last_data()], StreamError(PROTOCOL)),
        ("8.1.1 longer, of two frames", vec![measured(b"1"), part.clone(), last_data()], StreamError(PROTOCOL)),
        ("8.1.1 shorter", vec![measured(b"9"), part, last_data()], StreamError(PROTOCOL)),
        ("8.1.1 just so", vec![measured(b"4"), last_data()], Answered),
    ];
    hold(&cases).await;
}
