//! RFC 9113 sections 8.2 and 8.3: the fields of requests.

use super::verdict::{Case, Verdict::*, hold, request};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Field, HEADERS, PROTOCOL_ERROR, block, frame};

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];

/// A case of a request of these fields alone, that is malformed.
fn malformed(name: &'static str, fields: &[Field<'_>]) -> Case {
    (name, vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))], StreamError(PROTOCOL))
}

/// A GET, with these fields behind.
fn get<'a>(more: &[Field<'a>]) -> Vec<Field<'a>> {
    request("GET", more)
}

/// A GET without the field at `at`.
fn without(at: usize) -> Vec<Field<'static>> {
    let mut fields = get(&[]);
    fields.remove(at);
    fields
}

#[tokio::test]
async fn section_8_2_fields() {
    hold(&[
        malformed("8.2.1 upper case", &get(&[(b"X-TEST", b"ok")])),
        malformed("8.2.2 connection", &get(&[(b"connection", b"keep-alive")])),
        malformed("8.2.2 te", &get(&[(b"trailers", b"test"), (b"te", b"trailers, deflate")])),
    ])
    .await;
}

#[tokio::test]
async fn section_8_3_pseudo_headers() {
    let open = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", &[])));
    let trailers = frame(HEADERS, END_HEADERS, 1, &block(&[(b":method", b"POST")]));
    hold(&[
        malformed("8.3 unknown", &get(&[(b":test", b"ok")])),
        malformed("8.3 of responses", &get(&[(b":status", b"200")])),
        malformed("8.3 behind others", &[&[(&b"x-test"[..], &b"ok"[..])], &get(&[])[..]].concat()),
        ("8.3 in trailers", vec![open, frame(DATA, 0, 1, b"test"), trailers], StreamError(PROTOCOL)),
    ])
    .await;
}

#[tokio::test]
async fn section_8_3_1_pseudo_headers_of_requests() {
    let mut no_path = get(&[]);
    no_path[2].1 = b"";
    hold(&[
        malformed("8.3.1 empty :path", &no_path),
        malformed("8.3.1 no :method", &without(0)),
        malformed("8.3.1 no :method, no :scheme", &get(&[])[2..]),
        malformed("8.3.1 no :scheme", &without(1)),
        malformed("8.3.1 no :path", &without(2)),
        malformed("8.3.1 :method twice", &get(&[(b":method", b"GET")])),
        malformed("8.3.1 :scheme twice", &get(&[(b":scheme", b"http")])),
        malformed("8.3.1 :path twice", &get(&[(b":path", b"/")])),
        malformed("8.3.1 two methods", &get(&[(b":method", b"/")])),
    ])
    .await;
}
