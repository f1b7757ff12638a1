//! RFC 7541: every representation is read, and what cannot be read ends the connection.

use super::{
    peer::COMPRESSION_ERROR,
    verdict::{Case, Verdict, Verdict::*, get, hold},
};
use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS, frame};

/// A GET whose header block has something before and behind.
fn around(name: &'static str, before: &[u8], behind: &[u8], verdict: Verdict) -> Case {
    let block = [before, &get(), behind].concat();
    (name, vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)], verdict)
}

/// `user-agent: h2test`, `x-test: h2test`: names and values as they are, and in Huffman's code.
const AGENT: &[u8] = b"\x0auser-agent\x06h2test";
const AGENT_CODED: &[u8] = b"\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4";
const OTHER: &[u8] = b"\x06x-test\x06h2test";
const OTHER_CODED: &[u8] = b"\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4";
const TEXTS: [(&str, &[u8]); 4] =
    [("known name", AGENT), ("known name, coded", AGENT_CODED), ("new name", OTHER), ("new name, coded", OTHER_CODED)];

/// A literal of each text, by this representation.
fn literals(first: u8) -> Vec<Case> {
    TEXTS.iter().map(|(name, text)| around(name, &[], &[&[first], *text].concat(), Answered)).collect()
}

#[tokio::test]
async fn section_6_1_indexed() {
    // `user-agent` without value; what was entered just before; the static table's end.
    let entered = [&[0x40][..], OTHER, &[0xbe]].concat();
    hold(&[
        around("6.1 static", &[], &[0xba], Answered),
        around("6.1 dynamic", &[], &entered, Answered),
        around("6.1 the last static", &[], &[0xbd], Answered),
        around("6.1 index 0", &[], &[0x80], ConnectionError(&[COMPRESSION_ERROR])),
    ])
    .await;
}

#[tokio::test]
async fn section_6_2_literals() {
    let (entering, not_entering, never) = (literals(0x40), literals(0), literals(0x10));
    // A name from the static table, `user-agent`, in each.
    let indexed: [Case; 3] = [
        around("6.2.1 by index", &[], b"\x7a\x06h2test", Answered),
        around("6.2.2 by index", &[], b"\x0f\x2b\x06h2test", Answered),
        around("6.2.3 by index", &[], b"\x1f\x2b\x06h2test", Answered),
    ];
    hold(&entering).await;
    hold(&not_entering).await;
    hold(&never).await;
    hold(&indexed).await;
}

#[tokio::test]
async fn section_2_3_3_indices_out_of_range() {
    let error = ConnectionError(&[COMPRESSION_ERROR]);
    hold(&[
        around("2.3.3 a field", &[], &[0xc6], error),
        around("2.3.3 a field far out", &[], &[0xfe], error),
        around("2.3.3 a name without value", &[], &[0x7f, 7, 0], error),
        around("2.3.3 a name", &[], b"\x7e\x04test", error),
        around("2.3.3 a name that enters nothing", &[], b"\x0f\x70\x04test", error),
    ])
    .await;
}

#[tokio::test]
async fn section_4_2_and_6_3_sizes_of_the_table() {
    let error = ConnectionError(&[COMPRESSION_ERROR]);
    hold(&[
        around("6.3 to nothing", &[0x20], &[], Answered),
        around("4.2 to nothing and back", &[0x20, 0x3f, 0xe1, 0x1f], &[], Answered),
        around("6.3 to less", &[0x3f, 0x61], &[], Answered),
        around("4.2 to less and back", &[0x3f, 0x61, 0x3f, 0xe1, 0x1f], &[], Answered),
        around("4.2 behind a field", &[], &[0x21], error),
        // 4,097 bytes.
        around("6.3 beyond the setting", &[0x3f, 0xe2, 0x1f], &[], error),
    ])
    .await;
}

#[tokio::test]
async fn section_5_2_strings() {
    let error = ConnectionError(&[COMPRESSION_ERROR]);
    let literal = |value: &[u8]| [&b"\x00\x85\xf2\xb2\x4a\x84\xff"[..], value].concat();
    hold(&[
        around("5.2 padding of more than seven bits", &[], &literal(b"\x84\x49\x50\x9f\xff"), error),
        around("5.2 padding of zeros", &[], &literal(b"\x83\x49\x50\x90"), error),
        around("5.2 the end of strings", &[], &literal(b"\x87\xff\xff\xff\xfd\x25\x42\x7f"), error),
        around("5.2 shorter than it says", &[], &literal(b"\x09test"), error),
    ])
    .await;
}

#[tokio::test]
async fn section_5_1_integers_too_large() {
    let error = ConnectionError(&[COMPRESSION_ERROR]);
    hold(&[around("5.1 an index", &[], &[&[0xff], &[0xff; 9][..], &[0]].concat(), error)]).await;
}
