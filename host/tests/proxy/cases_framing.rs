//! The cases of framing and smuggling in HTTP/1 requests, by their numbers: refused, the connection closed, nothing
//! upstream.

use crate::support::{Origin, Protocol, Proxy, SMUGGLED, Wire, Witness};

/// A POST with these lines behind `Host`, and what follows the head.
fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}")
}

/// Requires that each is refused with 400 or 501.
async fn refused(requests: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let mut witness = Witness::new().await;
    for request in requests {
        witness.refuses(request, &[400, 501]).await;
    }
}

#[tokio::test]
async fn case_01_content_length_and_transfer_encoding() {
    refused([
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        post("content-length: 0\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn case_02_transfer_encodings_that_are_not_chunked() {
    let codings = [
        "xchunked",
        "identity",
        "chunked, gzip",
        "chunked, identity",
        "gzip",
        "chunked;q=1",
        "\"chunked\"",
        "chunke",
        "",
        "\x0bchunked",
        "\x0cchunked",
        "\0chunked",
        "chunked\x0b",
        "chun ked",
        "identity, chunked",
        "x",
    ];
    let lines = codings.map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n")));
    refused(lines).await;
    refused([
        post("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        post("\x20Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n"),
    ])
    .await;
}

#[tokio::test]
async fn case_03_transfer_encodings_that_end_in_chunked() {
    refused([
        post("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ])
    .await;
}

#[tokio::test]
async fn case_04_transfer_encoding_in_http_1_0() {
    refused([
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn case_05_content_lengths_that_are_not_one_number() {
    let lengths = [
        "5, 5",
        "5,5",
        "5, 6",
        "+5",
        "-1",
        "-0",
        "0x5",
        "1_0",
        "1e1",
        "5.0",
        "",
        "five",
        "5 5",
        "5;",
        "\x0b5",
        "5\0",
        "'5'",
        "18446744073709551616",
        "99999999999999999999999999",
    ];
    refused(lengths.map(|length| post(&format!("Content-Length: {length}\r\n\r\nhello")))).await;
    refused([
        post("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        post("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        post("Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello"),
        post("Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n\r\nhello"),
        post("Content-Length : 5\r\n\r\nhello"),
        post("Content-Length\0: 5\r\n\r\nhello"),
    ])
    .await;
}

#[tokio::test]
async fn case_06_folded_lines() {
    refused([
        post("X: a\r\n b\r\n\r\n"),
        post("X: a\r\n\tb\r\n\r\n"),
        post("X: a\r\n Content-Length: 5\r\n\r\nhello"),
        post("X:\r\n a\r\n\r\n"),
        post("X: a\r\n \r\n\r\n"),
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn case_07_bare_line_feed() {
    refused([
        "GET / HTTP/1.1\nHost: a\n\n".into(),
        "GET / HTTP/1.1\nHost: a\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\r\n\n".into(),
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        post("X: a\nContent-Length: 5\r\n\r\nhello"),
    ])
    .await;
}

#[tokio::test]
async fn case_07_bare_carriage_return() {
    refused([
        "GET / HTTP/1.1\rHost: a\r\r".into(),
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n".into(),
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        post("X: a\rContent-Length: 5\r\n\r\nhello"),
        post("X: a\r\n\rContent-Length: 5\r\n\r\nhello"),
        post("\rX: a\r\n\r\n"),
    ])
    .await;
}

#[tokio::test]
async fn case_08_malformed_header_lines() {
    let lines: [&[u8]; 18] = [
        b"X : a",
        b"X\t: a",
        b" X: a",
        b"\tX: a",
        b"no colon",
        b": a",
        b" : a",
        b"X y: a",
        b"X\0: a",
        b"X\x01: a",
        b"X\x7f: a",
        b"X\xe9: a",
        b"X(: a",
        b"X: a\0b",
        b"X: a\x01b",
        b"X: a\x1bb",
        b"X: a\x7fb",
        b"\xef\xbb\xbfX: a",
    ];
    let request = |line: &[u8]| [b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat();
    refused(lines.map(request)).await;
    let lines = [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /",
        "GET",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/01.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.11",
        "GET / HTTX/1.1",
        "GET / XHTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "\u{feff}GET / HTTP/1.1",
    ];
    refused(lines.map(|line| format!("{line}\r\nHost: a\r\n\r\n"))).await;
}

#[tokio::test]
async fn case_09_an_http_1_0_body_has_a_length_or_is_none() {
    let mut witness = Witness::new().await;
    let received = witness.forwards("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(received.text(), "hello");
    // What follows a head without length is no body, and HTTP/1.0 carries one request on a connection.
    let mut wire = Wire::connect(witness.proxy.address()).await;
    wire.send(format!("POST /old HTTP/1.0\r\nHost: a\r\n\r\n{SMUGGLED}")).await;
    let answers = String::from_utf8(wire.rest().await).unwrap();
    assert_eq!(answers.matches("HTTP/1.").count(), 1, "{answers}");
    assert_eq!(witness.received().map(|received| received.text().to_owned()).as_deref(), Some(""));
    assert!(witness.received().is_none());
}

#[tokio::test]
async fn case_13_bodies_of_methods_that_seldom_have_one() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "PROPFIND"] {
        for (framing, body) in
            [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")]
        {
            let (origin, mut received) = Origin::canned("HTTP/1.1 204 No Content\r\n\r\n").await;
            let proxy = Proxy::before(&origin, Protocol::Http1);
            let mut wire = Wire::connect(proxy.address()).await;
            wire.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}")).await;
            assert_eq!(wire.head().await.unwrap().status(), 204, "{method} {framing}");
            wire.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(wire.head().await.unwrap().status(), 204, "{method} {framing}");
            let first = received.recv().await.unwrap();
            assert_eq!((first.text(), &*first.start), ("hello", &*format!("{method} / HTTP/1.1")), "{framing}");
            let second = received.recv().await.unwrap();
            assert_eq!((second.text(), &*second.start), ("", "GET /second HTTP/1.1"), "{method} {framing}");
        }
    }
}

#[tokio::test]
async fn case_14_the_rest_of_a_body_behind_an_early_response_is_no_request() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        wire.rest().await;
    })
    .await;
    let nowhere = Proxy::start("");
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let length = SMUGGLED.len();
    for (proxy, status) in [(&proxy, 200), (&nowhere, 404)] {
        for (framing, beginning, end) in [
            (format!("Content-Length: {length}"), String::new(), ""),
            ("Transfer-Encoding: chunked".into(), format!("{length:x}\r\n"), "\r\n0\r\n\r\n"),
        ] {
            let mut wire = Wire::connect(proxy.address()).await;
            wire.send(post(&format!("{framing}\r\n\r\n{beginning}"))).await;
            assert_eq!(wire.message().await.unwrap().status(), status, "{framing}");
            wire.try_send(format!("{SMUGGLED}{end}")).await;
            wire.finish().await;
            let rest = String::from_utf8(wire.rest().await).unwrap();
            assert_eq!(rest, "", "{framing}: the body is taken for a request");
        }
    }
}

#[tokio::test]
async fn case_15_nothing_behind_a_bad_request_is_served() {
    let mut witness = Witness::new().await;
    let bad = post("Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx");
    let mut wire = Wire::connect(witness.proxy.address()).await;
    wire.send(format!("GET /good HTTP/1.1\r\nHost: a\r\n\r\n{bad}{SMUGGLED}{SMUGGLED}")).await;
    assert_eq!(wire.message().await.unwrap().status(), 200);
    assert_eq!(wire.message().await.unwrap().status(), 400);
    assert_eq!(wire.rest().await, b"");
    assert!(witness.received().unwrap().start.starts_with("GET /good"));
    assert!(witness.received().is_none());
}
