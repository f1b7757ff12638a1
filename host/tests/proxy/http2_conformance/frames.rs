//! RFC 9113 sections 4 and 5.5: frames as such.

use super::{
    peer::{COMPRESSION_ERROR, FRAME_SIZE_ERROR},
    verdict::{Case, TOKEN, Verdict::*, get, hold, last_data, long_field, ping, post},
};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, PROTOCOL_ERROR, frame,
};

/// A type that no RFC defines.
const UNKNOWN: u8 = 0x16;
const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
/// A priority that depends on no stream.
const ROOT: &[u8] = &[0, 0, 0, 0, 255];

#[tokio::test]
async fn section_4_1_frame_format() {
    let cases: [Case; 4] = [
        ("4.1 unknown type", vec![frame(UNKNOWN, 0, 0, &[0; 8]), ping()], Ponged),
        ("4.1 unknown type on a stream", vec![frame(UNKNOWN, 0xff, 1, &[0; 8]), ping()], Ponged),
        ("4.1 undefined flags", vec![frame(PING, 0x16, 0, TOKEN)], Ponged),
        ("4.1 reserved bit", vec![frame(PING, 0x16, 0x8000_0000, TOKEN)], Ponged),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_4_2_frame_size() {
    let open = frame(HEADERS, END_HEADERS, 1, &post());
    let block = [get(), long_field().repeat(5)].concat();
    let cases: [Case; 4] = [
        ("4.2 data of 2^14", vec![open.clone(), frame(DATA, END_STREAM, 1, &[b'x'; 1 << 14])], Answered),
        (
            "4.2 data of more",
            vec![open, frame(DATA, END_STREAM, 1, &[b'x'; (1 << 14) + 1])],
            StreamError(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.2 a head of more",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)],
            ConnectionError(&[FRAME_SIZE_ERROR]),
        ),
        ("4.2 an unknown frame of more", vec![frame(UNKNOWN, 0, 0, &[0; 1 << 15])], StreamError(&[FRAME_SIZE_ERROR])),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_4_3_header_blocks() {
    let begun = frame(HEADERS, 0, 1, &get());
    let end = frame(CONTINUATION, END_HEADERS, 1, &long_field());
    let other = frame(HEADERS, END_HEADERS | END_STREAM, 3, &get());
    let cases: [Case; 3] = [
        (
            "4.3 a literal without name and value",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x40])],
            ConnectionError(&[COMPRESSION_ERROR]),
        ),
        (
            "4.3 PRIORITY within a block",
            vec![begun.clone(), frame(PRIORITY, 0, 1, ROOT), end.clone()],
            ConnectionError(PROTOCOL),
        ),
        ("4.3 HEADERS within a block", vec![begun, other, end], ConnectionError(PROTOCOL)),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_5_5_extensions() {
    let begun = frame(HEADERS, END_STREAM, 1, &get());
    let cases: [Case; 2] = [
        ("5.5 between messages", vec![frame(UNKNOWN, 0, 0, &[0; 8]), ping()], Ponged),
        ("5.5 within a header block", vec![begun, frame(UNKNOWN, 0, 0, &[0; 8])], ConnectionError(PROTOCOL)),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_10_continuation() {
    let long = long_field();
    let (get, post) = (get(), post());
    let head = |flags: u8| frame(HEADERS, flags, 1, &get);
    let more = |flags: u8, stream: u32| frame(CONTINUATION, flags, stream, &long);
    let begun_post = frame(HEADERS, 0, 1, &post);
    let error = ConnectionError(PROTOCOL);
    let cases: [Case; 8] = [
        (
            "6.10 one",
            vec![frame(HEADERS, END_STREAM, 1, &get[..5]), frame(CONTINUATION, END_HEADERS, 1, &get[5..])],
            Answered,
        ),
        (
            "6.10 two that split fields",
            vec![
                frame(HEADERS, END_STREAM, 1, &get[..5]),
                frame(CONTINUATION, 0, 1, &get[5..10]),
                frame(CONTINUATION, END_HEADERS, 1, &get[10..]),
            ],
            Answered,
        ),
        ("6.10 two that are long", vec![head(END_STREAM), more(0, 1), more(END_HEADERS, 1)], Answered),
        ("6.10 data within", vec![begun_post.clone(), more(0, 1), last_data()], error),
        ("6.10 of stream 0", vec![head(END_STREAM), more(END_HEADERS, 0)], error),
        ("6.10 behind a whole head", vec![head(END_STREAM | END_HEADERS), more(END_HEADERS, 1)], error),
        ("6.10 behind the last", vec![head(END_STREAM), more(END_HEADERS, 1), more(END_HEADERS, 1)], error),
        ("6.10 behind data", vec![begun_post, last_data(), more(0, 1), more(END_HEADERS, 0)], error),
    ];
    hold(&cases).await;
}
