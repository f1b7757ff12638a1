//! RFC 9113 sections 3.4, 5.4.1, 6.7, 6.8 and 7: how a connection begins, is tried and ends.

use super::{
    peer::{ACK, Event, FRAME_SIZE_ERROR, INITIAL_WINDOW, PREFACE},
    place::Place,
    verdict::{Case, TOKEN, Verdict::*, get, hold, judge, ping},
};
use crate::support::frames::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PROTOCOL_ERROR, RST_STREAM, SETTINGS, frame,
};

#[tokio::test]
async fn section_3_4_the_server_begins_with_its_settings() {
    for place in Place::all().await {
        let mut peer = place.dial().await;
        peer.send(PREFACE).await;
        peer.set(&[(INITIAL_WINDOW, 65_535)]).await;
        let Event::Frame(first) = peer.event().await else { panic!("nothing {}", place.name) };
        assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0), "{}", place.name);
    }
}

#[tokio::test]
async fn section_3_4_what_is_no_preface_ends_the_connection() {
    let spoilt = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!", &frame(SETTINGS, 0, 0, &[])[..]].concat();
    let unsettled = [PREFACE, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &get())].concat();
    for place in Place::all().await {
        for said in [&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], &spoilt, &unsettled] {
            let mut peer = place.dial().await;
            peer.send(said).await;
            let closed = judge(&mut peer, Closed).await;
            assert_eq!(closed, Ok(()), "{} {}", said.escape_ascii(), place.name);
        }
    }
}

#[tokio::test]
async fn section_5_4_1_connection_errors() {
    let invalid = || vec![frame(PING, 0, 3, &[0; 8])];
    hold(&[
        ("5.4.1 the connection is closed", invalid(), Closed),
        ("5.4.1 GOAWAY comes before", invalid(), GoneAway(PROTOCOL_ERROR)),
    ])
    .await;
}

#[tokio::test]
async fn section_6_7_ping() {
    let cases: [Case; 4] = [
        ("6.7 is answered in kind", vec![ping()], Ponged),
        ("6.7 an answer is not answered", vec![frame(PING, ACK, 0, b"another!"), ping()], Ponged),
        ("6.7 of a stream", vec![frame(PING, 0, 1, TOKEN)], ConnectionError(&[PROTOCOL_ERROR])),
        ("6.7 of six bytes", vec![frame(PING, 0, 0, &[0; 6])], ConnectionError(&[FRAME_SIZE_ERROR])),
    ];
    hold(&cases).await;
}

/// Last stream 0, and a code.
fn go_away(stream: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, stream, &[&[0; 4], &code.to_be_bytes()[..], b"why"].concat())
}

#[tokio::test]
async fn section_6_8_goaway() {
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get());
    let cases: [Case; 5] = [
        ("6.8 answers a ping yet, or ends", vec![go_away(0, 0), ping()], PongedOrClosed),
        ("6.8 ends the connection", vec![go_away(0, 0)], Closed),
        ("6.8 lets a stream end", vec![request.clone(), go_away(0, 0)], Answered),
        ("6.8 ends it then", vec![request, go_away(0, 0)], Closed),
        ("6.8 of a stream", vec![go_away(1, 0)], ConnectionError(&[PROTOCOL_ERROR])),
    ];
    hold(&cases).await;
}

#[tokio::test]
async fn section_7_unknown_error_codes() {
    let open = frame(HEADERS, END_HEADERS, 1, &get());
    let reset = frame(RST_STREAM, 0, 1, &0xff_u32.to_be_bytes());
    let cases: [Case; 2] =
        [("7 in GOAWAY", vec![go_away(0, 0xff)], Closed), ("7 in RST_STREAM", vec![open, reset, ping()], Ponged)];
    hold(&cases).await;
}
