//! RFC 9113 section 6.5: settings.

use super::{
    peer::{ACK, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, INITIAL_WINDOW, settings},
    verdict::{Case, Verdict::*, get, hold, ping},
};
use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, SETTINGS, frame};

const TABLE: u16 = 1;
const PUSH: u16 = 2;
const STREAMS: u16 = 3;
const FRAME: u16 = 5;
const LIST: u16 = 6;

#[tokio::test]
async fn section_6_5_settings() {
    let some = [(TABLE, 4096), (PUSH, 1), (STREAMS, 100), (INITIAL_WINDOW, 65_535), (FRAME, 16_384), (LIST, 100)];
    let cases: [Case; 5] = [
        ("6.5 all of them", vec![settings(&some)], Acknowledged),
        (
            "6.5 an acknowledgement with something in it",
            vec![frame(SETTINGS, ACK, 0, &[0])],
            ConnectionError(&[FRAME_SIZE_ERROR]),
        ),
        ("6.5 of a stream", vec![frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])], ConnectionError(&[PROTOCOL_ERROR])),
        (
            "6.5 not six bytes each",
            vec![frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 2])],
            StreamError(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        (
            // The head says nine bytes, and one never comes.
            "6.5 not six bytes each, and short",
            vec![[&[0, 0, 9, SETTINGS, 0, 0, 0, 0, 0], &[0, 3, 0, 0, 0, 100, 0, 2, 0][..]].concat()],
            StreamError(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_5_2_values() {
    let (protocol, flow) = (ConnectionError(&[PROTOCOL_ERROR]), ConnectionError(&[FLOW_CONTROL_ERROR]));
    let cases: [Case; 5] = [
        ("6.5.2 push neither 0 nor 1", vec![settings(&[(PUSH, 2)])], protocol),
        ("6.5.2 a window of 2^31", vec![settings(&[(INITIAL_WINDOW, 1 << 31)])], flow),
        ("6.5.2 frames too small", vec![settings(&[(FRAME, (1 << 14) - 1)])], protocol),
        ("6.5.2 frames too large", vec![settings(&[(FRAME, 1 << 24)])], protocol),
        ("6.5.2 unknown", vec![settings(&[(0xff, 1)]), ping()], Ponged),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_6_5_3_synchronization() {
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get());
    let cases: [Case; 2] = [
        (
            "6.5.3 the last value counts",
            vec![settings(&[(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)]), request],
            Data(1),
        ),
        ("6.5.3 they are acknowledged", vec![settings(&[(PUSH, 0)])], Acknowledged),
    ];
    hold(&cases).await;
}
