//! Connections to HTTP/1.1 upstreams between requests and while an answer overtakes its request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, Wire, channel, get, soon, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// More than the buffers between client and origin hold.
const LARGE: usize = 32 << 20;

/// An origin that writes a large answer and reads a large body at the same time, each in a thread of its own; it tells how
/// much it read.
fn reading_while_it_writes() -> (SocketAddr, mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (read, all)) = (listener.local_addr().unwrap(), mpsc::unbounded_channel());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut writing = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            write!(writing, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
            writing.write_all(&vec![7; LARGE])
        });
        let (mut block, mut count, mut head) = (vec![0; 65536], 0, 0);
        while count < head + LARGE {
            match stream.read(&mut block).unwrap() {
                0 => break,
                more => count += more,
            }
            if head == 0 {
                head = block.windows(4).position(|window| window == b"\r\n\r\n").expect("a head at once") + 4;
            }
        }
        read.send(count - head).unwrap();
    });
    (address, all)
}

#[tokio::test]
async fn an_upload_goes_on_while_nobody_reads_its_answer() {
    let (origin, mut read) = reading_while_it_writes();
    let proxy = Proxy::start(&format!("{ROUTE}{}", upstream("origin", Protocol::Http1, &[origin])));
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    for _ in 0..LARGE / 65536 {
        wire.send(vec![1; 65536]).await;
    }
    assert_eq!(soon("the whole upload", read.recv()).await, Some(LARGE));
    assert_eq!(wire.message().await.unwrap().body.len(), LARGE);
}

#[tokio::test]
async fn an_upload_that_breaks_off_behind_the_head_of_its_answer_does_not_look_whole() {
    let (ended, mut end) = mpsc::unbounded_channel();
    let origin = Origin::http(Protocol::Http1, move |request: Request<Incoming>| {
        let ended = ended.clone();
        async move {
            let (feed, body) = channel();
            tokio::spawn(async move {
                assert!(feed.send("begun").await);
                ended.send(request.into_body().collect().await.is_ok()).unwrap();
            });
            Response::new(body)
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    assert_eq!(wire.through("begun").await.unwrap().lines().next(), Some("HTTP/1.1 200 OK"));
    drop(wire);
    assert_eq!(soon("the end of the upload", end.recv()).await, Some(false), "a broken body looks whole");
}

#[tokio::test]
async fn an_upstream_that_answers_and_reads_no_further_is_heard() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 413 Too Long\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlong").await;
        wire.end().await;
        wire.rest().await;
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nthe beginning").await;
    let answer = wire.message().await.unwrap();
    assert_eq!((answer.status(), answer.text()), (413, "long"));
}

#[tokio::test]
async fn a_connection_that_its_upstream_ended_is_closed_though_nobody_asks_for_it() {
    let (closed, mut close) = mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire, _| {
        let closed = closed.clone();
        async move {
            wire.message().await;
            wire.send(OK).await;
            wire.end().await;
            wire.rest().await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.text(), "ok");
    soon("the end of the connection", close.recv()).await;
}

#[tokio::test]
async fn a_stale_connection_makes_room_for_the_one_that_replaces_it() {
    let origin = Origin::raw(|mut wire, number| async move {
        wire.message().await;
        wire.send(OK).await;
        wire.message().await;
        if number > 1 {
            wire.send(OK).await;
        }
    })
    .await;
    let config = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}{config}max_connections = 1\nconnect_timeout = \"20s\""));
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(client.exchange(get("/")).await.text(), "ok");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn who_has_waited_longest_gets_the_connection_that_comes_free() {
    let origin = Origin::raw(|mut wire, _| async move {
        while wire.message().await.is_some() {
            wire.send(OK).await;
        }
    })
    .await;
    let config = upstream("origin", Protocol::Http1, &[origin.address]);
    let proxy = Proxy::start(&format!("{ROUTE}{config}max_connections = 1\nconnect_timeout = \"20s\""));
    let mut greedy = Wire::connect(proxy.address()).await;
    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    greedy.send(REQUEST.repeat(50)).await;
    assert_eq!(greedy.message().await.unwrap().text(), "ok");
    let endless = async {
        loop {
            greedy.send(REQUEST).await;
            assert_eq!(greedy.message().await.unwrap().text(), "ok");
        }
    };
    let modest = async {
        let client = Client::to(&proxy, Protocol::Http1).await;
        for _ in 0..5 {
            assert_eq!(soon("an answer", client.get("/")).await.text(), "ok");
        }
    };
    tokio::select! {
        () = modest => {}
        () = endless => {}
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn what_an_upstream_says_before_it_was_asked_is_no_answer() {
    let (asked, mut questions) = mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire, _| {
        let asked = asked.clone();
        async move {
            wire.send(OK).await;
            if wire.message().await.is_some() {
                asked.send(()).unwrap();
            }
            wire.end().await;
        }
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(Wire::connect(proxy.address()).await);
    }
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    }
    for client in &mut clients {
        let status = client.message().await.unwrap().status();
        assert!(matches!(status, 200 | 502), "{status}");
        if status == 200 {
            soon("the question of the answer", questions.recv()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_comes_before_a_break_is_passed_on() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await;
    })
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    for protocol in Protocol::BOTH {
        let answer = Client::to(&proxy, protocol).await.send(get("/")).await;
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        let piece = soon("what came", body.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece, "hello", "{protocol:?}");
        assert!(soon("the break", body.frame()).await.unwrap().is_err(), "{protocol:?}");
    }
}
