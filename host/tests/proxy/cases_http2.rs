//! The cases of HTTP/2, by their numbers: frames that no library would send.

use http::Response;

use crate::support::{
    Client, Origin, Protocol, Proxy, Witness, eventually, filter,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Field, Frames, HEADERS, Outcome, PING,
        PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get_with, headers,
    },
    full, get, upstream,
};

fn shown(fields: &[Field<'_>]) -> String {
    fields.iter().map(|(name, value)| format!("{}: {}; ", name.escape_ascii(), value.escape_ascii())).collect()
}

/// What becomes of a request of these fields alone.
async fn asked(proxy: &Proxy, fields: &[Field<'_>]) -> Outcome {
    let mut frames = Frames::to(proxy).await;
    frames.send(headers(1, END_STREAM, fields)).await;
    frames.outcome(1).await
}

const METHOD: Field<'_> = (b":method", b"GET");
const SCHEME: Field<'_> = (b":scheme", b"http");
const AUTHORITY: Field<'_> = (b":authority", b"a");
const PATH: Field<'_> = (b":path", b"/");

#[tokio::test]
async fn case_25_pseudo_headers() {
    let mut witness = Witness::new().await;
    let x: Field<'_> = (b"x", b"y");
    for fields in [
        vec![SCHEME, AUTHORITY, PATH],
        vec![METHOD, AUTHORITY, PATH],
        vec![METHOD, SCHEME, AUTHORITY],
        vec![METHOD, METHOD, SCHEME, AUTHORITY, PATH],
        vec![METHOD, SCHEME, SCHEME, AUTHORITY, PATH],
        vec![METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH],
        vec![METHOD, SCHEME, AUTHORITY, PATH, PATH],
        vec![METHOD, SCHEME, AUTHORITY, x, PATH],
        vec![x, METHOD, SCHEME, AUTHORITY, PATH],
        get_with(&[(b":status", b"200")]),
        get_with(&[(b":unknown", b"1")]),
        get_with(&[(b":protocol", b"websocket")]),
        get_with(&[(b":", b"1")]),
        get_with(&[(b"X", b"y")]),
        get_with(&[(b"", b"y")]),
        get_with(&[(b"connection", b"close")]),
        get_with(&[(b"connection", b"x-forwarded-for")]),
        get_with(&[(b"keep-alive", b"timeout=5")]),
        get_with(&[(b"proxy-connection", b"close")]),
        get_with(&[(b"transfer-encoding", b"chunked")]),
        get_with(&[(b"upgrade", b"h2c")]),
        get_with(&[(b"te", b"gzip")]),
        vec![],
    ] {
        let outcome = asked(&witness.proxy, &fields).await;
        assert!(outcome.is_refusal(), "{}{outcome:?}", shown(&fields));
        witness.saw_nothing(&shown(&fields));
    }
    let sound = get_with(&[(b"te", b"trailers"), (b"x", b"y")]);
    assert_eq!(asked(&witness.proxy, &sound).await, Outcome::Status(200));
}

#[tokio::test]
async fn case_26_authorities_paths_and_schemes() {
    let mut witness = Witness::new().await;
    let with = |method: &'static [u8], scheme: &'static [u8], authority: &'static [u8], path: &'static [u8]| {
        vec![(&b":method"[..], method), (b":scheme", scheme), (b":authority", authority), (b":path", path)]
    };
    let mut refused = vec![
        get_with(&[(b"host", b"b")]),
        get_with(&[(b"host", b"a"), (b"host", b"a")]),
        get_with(&[(b"host", b"")]),
        get_with(&[(b"host", b"u@a")]),
        vec![METHOD, SCHEME, PATH],
        vec![METHOD, SCHEME, PATH, (b"host", b"a, b")],
        vec![METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"b")],
        with(b"CONNECT", b"http", b"a", b"/"),
        vec![(b":method", b"CONNECT"), (b":authority", b"a:80")],
    ];
    let authorities: [&[u8]; 9] = [b"u@a", b"u:p@a", b"", b"a/b", b"a b", b"a:b", b"a,b", b"a\\b", b"[::1"];
    refused.extend(authorities.map(|authority| with(b"GET", b"http", authority, b"/")));
    let paths: [&[u8]; 16] = [
        b"",
        b"a",
        b"*",
        b"?x",
        b" /",
        b"/a b",
        b"/a\tb",
        b"/a\r\nX: y",
        b"/\0",
        b"/\\a",
        b"/%2f",
        b"/%00",
        b"/..",
        b"http://b/",
        b"/\xff",
        b"#a",
    ];
    refused.extend(paths.map(|path| with(b"GET", b"http", b"a", path)));
    let schemes: [&[u8]; 5] = [b"", b"ftp", b"ht tp", b"http://", b"file"];
    refused.extend(schemes.map(|scheme| with(b"GET", scheme, b"a", b"/")));
    for fields in refused {
        let outcome = asked(&witness.proxy, &fields).await;
        assert!(outcome.is_refusal(), "{}{outcome:?}", shown(&fields));
        witness.saw_nothing(&shown(&fields));
    }
    for (fields, line) in [
        (with(b"OPTIONS", b"http", b"a", b"*"), "OPTIONS * HTTP/1.1"),
        (with(b"GET", b"https", b"a", b"/"), "GET / HTTP/1.1"),
        (with(b"GET", b"http", b"a", b"/a/../%62//c?d"), "GET /b/c?d HTTP/1.1"),
        // The parser drops a fragment before anyone sees it.
        (with(b"GET", b"http", b"a", b"/a#b"), "GET /a HTTP/1.1"),
        (get_with(&[(b"host", b"A")]), "GET / HTTP/1.1"),
        (vec![METHOD, SCHEME, PATH, (b"host", b"a")], "GET / HTTP/1.1"),
    ] {
        assert_eq!(asked(&witness.proxy, &fields).await, Outcome::Status(200), "{}", shown(&fields));
        let received = witness.received().unwrap();
        assert_eq!((&*received.start, received.field("host")), (line, Some("a")), "{}", shown(&fields));
    }
}

#[tokio::test]
async fn case_27_fields_that_would_break_out_of_http_1() {
    let mut witness = Witness::new().await;
    let values: [&[u8]; 7] = [b"a\r\nx: y", b"a\nx: y", b"a\rx: y", b"a\0", b"\r\n\r\nGET /", b"a\x7f", b"a\x01"];
    let names: [&[u8]; 9] = [b"x: y\r\nz", b"x:y", b"x y", b"x\r\n", b"x\n", b"x\0", b"x\x7f", b" x", b"x "];
    let fields = values.map(|value| (&b"x"[..], value)).into_iter().chain(names.map(|name| (name, &b"y"[..])));
    let lengths: [&[Field<'_>]; 9] = [
        &[(b"content-length", b"5")],
        &[(b"content-length", b"0"), (b"content-length", b"1")],
        &[(b"content-length", b"-1")],
        &[(b"content-length", b"0x0")],
        &[(b"content-length", b"0, 0")],
        &[(b"content-length", b"")],
        &[(b"content-length", b""), (b"content-length", b"0")],
        &[(b"content-length", b"0"), (b"content-length", b"0")],
        &[(b"content-length", b"0"), (b"content-length", b"00")],
    ];
    let requests = fields.map(|field| get_with(&[field])).chain(lengths.map(get_with));
    for fields in requests {
        let outcome = asked(&witness.proxy, &fields).await;
        assert!(outcome.is_refusal(), "{}{outcome:?}", shown(&fields));
        witness.saw_nothing(&shown(&fields));
    }
    assert_eq!(asked(&witness.proxy, &get_with(&[(b"x-spaces", b" \ta b\t ")])).await, Outcome::Status(200));
    assert_eq!(witness.received().unwrap().field("x-spaces"), Some("a b"));
}

#[tokio::test]
async fn case_27_a_length_said_twice() {
    let mut witness = Witness::new().await;
    let length = (&b"content-length"[..], &b"5"[..]);
    let fields = [(&b":method"[..], &b"POST"[..]), SCHEME, AUTHORITY, PATH, length, length];
    let mut frames = Frames::to(&witness.proxy).await;
    frames.send([headers(1, 0, &fields), frame(DATA, END_STREAM, 1, b"hello")].concat()).await;
    let outcome = frames.outcome(1).await;
    assert!(outcome.is_refusal(), "{outcome:?}");
    witness.saw_nothing("a length said twice");
}

#[tokio::test]
async fn case_27_a_body_that_is_not_as_long_as_it_says() {
    let origin = Origin::raw(|mut wire, _| async move {
        let seen = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(!seen.contains("smuggled"), "{seen}");
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for body in [&b"hel"[..], b"hello GET /smuggled HTTP/1.1"] {
        let mut frames = Frames::to(&proxy).await;
        let fields = [(&b":method"[..], &b"POST"[..]), SCHEME, AUTHORITY, PATH, (b"content-length", b"5")];
        frames.send([headers(1, 0, &fields), frame(DATA, END_STREAM, 1, body)].concat()).await;
        let outcome = frames.outcome(1).await;
        assert!(outcome.is_refusal(), "{}: {outcome:?}", body.escape_ascii());
        eventually("the upstream request is given up", || origin.open() == 0).await;
    }
}

#[tokio::test]
async fn case_28_rapid_reset() {
    let origin = Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut frames = Frames::to(&proxy).await;
    let cancel = 8_u32.to_be_bytes();
    let mut flood = Vec::new();
    for stream in (1..2000).step_by(2) {
        flood.extend(headers(stream, END_STREAM, &get_with(&[])));
        flood.extend(frame(RST_STREAM, 0, stream, &cancel));
    }
    frames.send(flood).await;
    assert!(matches!(frames.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM) | Outcome::Closed));
    assert!(origin.requests() < 200, "{}", origin.requests());
    assert_eq!(Client::to(&proxy, Protocol::Http2).await.get("/").await.text(), "ok");
}

/// Makes the proxy reset each stream of `streams` by `offence`; how the connection ends.
async fn offended(proxy: &Proxy, offence: impl Fn(u32) -> Vec<u8>) -> Outcome {
    let mut frames = Frames::to(proxy).await;
    let mut flood = Vec::new();
    for stream in (1..4000).step_by(2) {
        flood.extend(headers(stream, 0, &get_with(&[])));
        flood.extend(offence(stream));
    }
    frames.send(flood).await;
    frames.outcome(0).await
}

#[tokio::test]
async fn case_28_made_you_reset() {
    let origin = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let no_increment = offended(&proxy, |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])).await;
    assert!(matches!(no_increment, Outcome::GoAway(_) | Outcome::Closed), "{no_increment:?}");
    let overflow = offended(&proxy, |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])).await;
    assert!(matches!(overflow, Outcome::GoAway(ENHANCE_YOUR_CALM) | Outcome::Closed), "{overflow:?}");
    let itself =
        offended(&proxy, |stream| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[0]].concat())).await;
    assert!(matches!(itself, Outcome::GoAway(_) | Outcome::Closed), "{itself:?}");
    eventually("what was asked upstream is given up", || origin.open() == 0).await;
}

#[tokio::test]
async fn case_28_a_reset_cancels_the_upstream_request_and_the_filter() {
    let origin = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    let proxy = Proxy::start(&format!(
        "[[routes]]\nfilters = [\"f\"]\nupstream = \"origin\"\n{}{}",
        upstream("origin", Protocol::Http1, &[origin.address]),
        filter("f", "{ run = \"f\" }")
    ));
    let mut frames = Frames::to(&proxy).await;
    frames.send(headers(1, END_STREAM, &get_with(&[]))).await;
    eventually("the request is upstream", || origin.open() == 1).await;
    frames.send(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await;
    eventually("the upstream request is given up", || origin.open() == 0).await;
    let client = Client::to(&proxy, Protocol::Http2).await;
    assert_eq!(client.get("/state/cancelled").await.text(), "1");
}

#[tokio::test]
async fn case_29_continuation_flood() {
    let mut witness = Witness::new().await;
    for piece in [&b""[..], &block(&[(b"x", b"y")]), &block(&[(b"x", &[b'y'; 8000])])] {
        let mut frames = Frames::to(&witness.proxy).await;
        let mut open = frames.send(frame(HEADERS, END_STREAM, 1, &block(&get_with(&[])))).await;
        for _ in 0..10_000 {
            open = open && frames.send(frame(CONTINUATION, 0, 1, piece)).await;
        }
        let outcome = if open { frames.outcome(1).await } else { Outcome::Closed };
        assert!(matches!(outcome, Outcome::GoAway(_) | Outcome::Closed), "{} bytes: {outcome:?}", piece.len());
    }
    witness.saw_nothing("a flood of CONTINUATION");
}

#[tokio::test]
async fn case_29_a_header_block_that_is_too_large() {
    let mut witness = Witness::new().await;
    let values = [b'y'; 8000];
    let large = [(&b"x"[..], &values[..]); 12];
    let many = [(&b"x"[..], &b"y"[..]); 101];
    for more in [&large[..], &many] {
        let fields = get_with(more);
        let whole = block(&fields);
        let mut frames = Frames::to(&witness.proxy).await;
        let mut pieces = whole.chunks(16_000).peekable();
        let mut kind = HEADERS;
        let mut sent = Vec::new();
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            sent.extend(frame(kind, end | if kind == HEADERS { END_STREAM } else { 0 }, 1, piece));
            kind = CONTINUATION;
        }
        frames.send(sent).await;
        // 431 has no index of its own.
        let outcome = frames.outcome(1).await;
        assert!(matches!(outcome, Outcome::Status(0) | Outcome::Reset(_)), "{outcome:?}");
        witness.saw_nothing("too large a head");
    }
}

#[tokio::test]
async fn case_30_floods_of_control_frames_end_the_connection() {
    let origin = Origin::raw(|mut wire, _| async move {
        if wire.head().await.is_some_and(|head| head.start.starts_with("GET")) {
            wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        } else {
            drop(wire.rest().await);
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let one = 1_u32.to_be_bytes();
    for (what, piece) in [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &one)),
        ("WINDOW_UPDATE of a stream", frame(WINDOW_UPDATE, 0, 1, &one)),
        ("DATA", frame(DATA, 0, 1, &[])),
        ("RST_STREAM", frame(RST_STREAM, 0, 3, &one)),
        ("an unknown type", frame(0x42, 0, 1, &[])),
    ] {
        let mut frames = Frames::to(&proxy).await;
        let fields = [(&b":method"[..], &b"POST"[..]), SCHEME, AUTHORITY, PATH];
        frames.send([headers(1, 0, &fields), headers(3, 0, &fields)].concat()).await;
        eventually("the requests are upstream", || origin.open() == 2).await;
        let mut open = true;
        for _ in 0..400 {
            open = open && frames.send(piece.repeat(50)).await;
        }
        assert_eq!(frames.outcome(0).await, Outcome::GoAway(ENHANCE_YOUR_CALM), "{what}");
        eventually("the upstream requests are given up", || origin.open() == 0).await;
        let other = Client::to(&proxy, Protocol::Http2).await.exchange(get("/")).await;
        assert_eq!(other.text(), "ok", "{what}");
        eventually("all is over", || origin.open() == 0).await;
    }
}
