//! The cases of chunked bodies and what may stand behind them, by their numbers: never completed upstream, nothing behind
//! them served.

use std::sync::{Arc, Mutex};

use crate::support::{Client, Origin, Protocol, Proxy, SMUGGLED, Wire, Witness, eventually, get};

/// A chunked POST with these lines behind `Host`, and its body.
fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}")
}

/// An origin that answers nothing and keeps what it got.
async fn silent() -> (Origin, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let sink = seen.clone();
    let origin = Origin::raw(move |mut wire, _| {
        let sink = sink.clone();
        async move {
            while let Some(bytes) = wire.some().await {
                sink.lock().unwrap().extend(bytes);
            }
        }
    });
    (origin.await, seen)
}

/// Requires that a body of these chunks is never completed, neither is anything behind it served.
async fn broken_off(bodies: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let (origin, seen) = silent().await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for body in bodies {
        let body = body.as_ref();
        let shown = body.get(..100).unwrap_or(body).escape_ascii().to_string();
        seen.lock().unwrap().clear();
        let mut wire = Wire::connect(proxy.address()).await;
        let head = post("Transfer-Encoding: chunked\r\n\r\n");
        wire.try_send([head.as_bytes(), body, SMUGGLED.as_bytes()].concat()).await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{shown}: {answer}");
        assert!(answer.is_empty() || answer.contains("x-meshup-error: bad-request\r\n"), "{shown}: {answer}");
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{shown}: {answer}");
        eventually("the upstream request is given up", || origin.open() == 0).await;
        let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
        assert!(!seen.contains("smuggled") && !seen.ends_with("0\r\n\r\n"), "{shown}: {seen}");
    }
}

#[tokio::test]
async fn case_10_chunk_sizes_and_data_that_do_not_fit() {
    let sizes = [
        "0x5",
        "+5",
        "-5",
        "5 ",
        " 5",
        "5\t",
        "_5",
        "5_",
        "",
        "g",
        "5h",
        "0005x",
        "fffffffffffffffff",
        "10000000000000005",
        "ffffffffffffffff5",
        "5.",
        "5,5",
    ];
    broken_off(sizes.map(|size| format!("{size}\r\nhello\r\n0\r\n\r\n"))).await;
    broken_off([
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5\r\nhello\r\nxyz\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn case_11_chunk_extensions() {
    broken_off(
        [
            "5;\nhello\r\n",
            "5;a\nb\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "5;a=\0\r\nhello\r\n",
            "5;\x01\r\nhello\r\n",
            "5;a\x7f\r\nhello\r\n",
            "5;\r\nhello\r\n",
            "5; \r\nhello\r\n",
            "5 ;\r\nhello\r\n",
            "5a;\r\nhello\r\n",
        ]
        .map(|chunk| format!("{chunk}0\r\n\r\n")),
    )
    .await;
    broken_off(["0;a\n", "0;a\rb\r\n", "0;=b\r\n", "0;a=\"b\r\n"].map(|last| format!("5\r\nhello\r\n{last}\r\n")))
        .await;
    broken_off([format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(64 << 10))]).await;
    let mut witness = Witness::new().await;
    let received =
        witness.forwards(post("Transfer-Encoding: chunked\r\n\r\n5 ;a=b;c=\"d e\"\r\nhello\r\n0;z\r\n\r\n")).await;
    assert_eq!(received.text(), "hello");
}

#[tokio::test]
async fn case_12_trailers_that_would_mean_something_in_a_head() {
    let mut witness = Witness::new().await;
    let names = [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "Connection",
        "Content-Type",
        "Forwarded",
        "If-Match",
        "Proxy-Authorization",
    ];
    let trailers: String = names.map(|name| format!("{name}: 1\r\n")).concat();
    let announced = names.join(", ");
    let received = witness
        .forwards(post(&format!(
            "Trailer: {announced}, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{trailers}X-Sum: 7\r\n\r\n"
        )))
        .await;
    assert_eq!(received.text(), "hi");
    assert_eq!(received.trailers, [("x-sum".into(), "7".into())]);
    broken_off([
        format!("2\r\nhi\r\n0\r\n{}\r\n", "X: y\r\n".repeat(101)),
        format!("2\r\nhi\r\n0\r\nX: {}\r\n\r\n", "y".repeat(128 << 10)),
        "2\r\nhi\r\n0\r\nX: a\r\n b\r\n\r\n".into(),
        "2\r\nhi\r\n0\r\nX: a\nY: b\r\n\r\n".into(),
        "2\r\nhi\r\n0\r\nX y: a\r\n\r\n".into(),
    ])
    .await;
}

#[tokio::test]
async fn case_12_trailers_of_a_response() {
    let (origin, _received) = Origin::canned(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: a=b\r\n\
         Content-Length: 9\r\nTransfer-Encoding: chunked\r\nLocation: /evil\r\nset_cookie: a=b\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for protocol in Protocol::BOTH {
        let mut request = get("/");
        request.headers_mut().insert("te", http::HeaderValue::from_static("trailers"));
        let answer = Client::to(&proxy, protocol).await.exchange(request).await;
        let trailers = answer.trailers.unwrap();
        assert_eq!((answer.body.as_ref(), trailers.len()), (&b"ok"[..], 1), "{protocol:?}: {trailers:?}");
        assert_eq!(trailers["x-sum"], "7", "{protocol:?}");
    }
}

#[tokio::test]
async fn case_12_trailers_of_http_2_requests() {
    use crate::support::frames::{DATA, END_STREAM, Frames, Outcome, frame, headers};
    let mut witness = Witness::new().await;
    let mut frames = Frames::to(&witness.proxy).await;
    let head = [
        (&b":method"[..], &b"POST"[..]),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
        (b"trailer", b"x-sum, host"),
    ];
    let trailers = [(&b"x-sum"[..], &b"7"[..]), (b"host", b"evil"), (b"authorization", b"evil")];
    frames.send([headers(1, 0, &head), frame(DATA, 0, 1, b"hi"), headers(1, END_STREAM, &trailers)].concat()).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    let received = witness.received().unwrap();
    assert_eq!((received.text(), &*received.trailers), ("hi", &[("x-sum".into(), "7".into())][..]));
    // The parser drops a pseudo-header here instead of refusing it: it must go no further.
    for field in [(&b":path"[..], &b"/evil"[..]), (b"x-sum\r\nx", b"y"), (b"x-sum", b"y\r\nx: z")] {
        let mut frames = Frames::to(&witness.proxy).await;
        let parts = [headers(1, 0, &head), frame(DATA, 0, 1, b"hi"), headers(1, END_STREAM, &[field])];
        frames.send(parts.concat()).await;
        let outcome = frames.outcome(1).await;
        let dropped = outcome == Outcome::Status(200) && witness.received().unwrap().trailers.is_empty();
        assert!(outcome.is_refusal() || dropped, "{}: {outcome:?}", field.0.escape_ascii());
    }
}
