//! Idle connections, which rest after two seconds: they cost little, and their clients notice nothing.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{
    cases_http2_load::resident_bytes,
    limits::{limited, reading_origin, refused},
    support::{
        Client, Origin, Process, Protocol, ROUTE, Wire, full, post, soon,
        tls::{Authority, client_config, handshake},
        upstream,
    },
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const MANY: usize = 400;

/// Until every connection that is idle rests.
async fn idle() {
    let mut ticks = tokio::time::interval(Duration::from_millis(4500));
    ticks.tick().await;
    ticks.tick().await;
}

#[tokio::test]
async fn a_connection_that_rested_serves_what_comes_next() {
    let origin = reading_origin().await;
    let proxy = limited("", origin.address);
    let client = Client::to(&proxy, Protocol::Http1).await;
    let mut pipelining = Wire::connect(proxy.address()).await;
    for _ in 0..2 {
        assert_eq!(client.exchange(post("/", full(vec![b'x'; 100_000]))).await.text(), "Ok(100000)");
        pipelining.send(GET.repeat(3) + "\r\n").await;
        for _ in 0..3 {
            assert_eq!(pipelining.message().await.unwrap().text(), "Ok(0)");
        }
        idle().await;
    }
    pipelining.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(pipelining.message().await.unwrap().status(), 400, "its framing is still guarded");
    assert_eq!(pipelining.rest().await, b"");
}

#[tokio::test]
async fn a_head_that_is_slow_behind_a_rest_is_cut_off() {
    let origin = reading_origin().await;
    let proxy = limited("header_timeout = \"200ms\"", origin.address);
    let mut wire = Wire::connect(proxy.address()).await;
    wire.send(GET).await;
    assert_eq!(wire.message().await.unwrap().status(), 200);
    idle().await;
    wire.send("GET / HT").await;
    assert_eq!(wire.rest().await, b"");
    refused(&proxy, "header-timeout", 1).await;
}

#[tokio::test]
async fn a_rest_ends_with_the_idle_timeout_or_with_the_client() {
    let origin = reading_origin().await;
    let proxy = limited("idle_timeout = \"3s\"", origin.address);
    let (mut staying, mut leaving) = (Wire::connect(proxy.address()).await, Wire::connect(proxy.address()).await);
    for wire in [&mut staying, &mut leaving] {
        wire.send(GET).await;
        assert_eq!(wire.message().await.unwrap().status(), 200);
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(2500));
    ticks.tick().await;
    ticks.tick().await;
    leaving.end().await;
    assert_eq!((leaving.rest().await.len(), staying.rest().await.len()), (0, 0));
    refused(&proxy, "idle-timeout", 1).await;
}

#[tokio::test]
async fn tls_connections_that_rest_cost_little_and_serve_what_comes_next() {
    let (origin, authority, folder) = (reading_origin().await, Authority::new(), tempfile::tempdir().unwrap());
    let process = Process::run(&process_config(&tls(&authority, folder.path()), &origin)).await;
    let client = Arc::new(client_config(&authority, None));
    drop(shaken(&client, &process, MANY / 4).await);
    let before = resident_bytes(process.id());
    let mut streams = shaken(&client, &process, MANY).await;
    idle().await;
    let each = resident_bytes(process.id()).saturating_sub(before) / MANY;
    println!("{each} bytes each");
    assert!(each < 20 << 10, "{each} bytes");
    for stream in &mut streams {
        ask(stream).await;
    }
}

/// TLS connections with a request behind them.
async fn shaken(client: &Arc<ClientConfig>, process: &Process, count: usize) -> Vec<TlsStream<TcpStream>> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = handshake(client, "proxy.test", process.address()).await.unwrap();
        ask(&mut stream).await;
        streams.push(stream);
    }
    streams
}

async fn ask(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"Ok(0)") {
        let read = soon("an answer", stream.read(&mut part)).await.unwrap();
        assert_ne!(read, 0);
        answer.extend_from_slice(&part[..read]);
    }
}

/// TLS for `proxy.test` from files in a folder.
fn tls(authority: &Authority, folder: &std::path::Path) -> String {
    authority.issue(&["proxy.test"]).write(folder, "server");
    let path = |name: &str| folder.join(name).display().to_string();
    format!("tls = {{ certificate = \"{}\", private_key = \"{}\" }}", path("server.pem"), path("server.key"))
}

fn process_config(keys: &str, origin: &Origin) -> String {
    format!(
        "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         {keys}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    )
}

/// Connections with a request behind them.
async fn asked(process: &Process, count: usize) -> Vec<Wire> {
    let mut wires = Vec::new();
    for _ in 0..count {
        let mut wire = Wire::connect(process.address()).await;
        wire.send(GET).await;
        assert_eq!(wire.message().await.unwrap().status(), 200);
        wires.push(wire);
    }
    wires
}

#[tokio::test]
async fn resting_connections_cost_little_and_do_not_hold_up_a_drain() {
    let origin = reading_origin().await;
    let process = Process::run(&process_config("", &origin)).await;
    drop(asked(&process, MANY / 4).await);
    let before = resident_bytes(process.id());
    let mut wires = asked(&process, MANY).await;
    idle().await;
    let each = resident_bytes(process.id()).saturating_sub(before) / MANY;
    // The bar is 8 KiB of many more connections, measured by benches/src/bin/idle.
    assert!(each < 10 << 10, "{each} bytes");
    println!("{each} bytes each");
    process.signal("TERM");
    for wire in &mut wires {
        assert_eq!(wire.rest().await, b"");
    }
    assert_eq!(process.ended().await.code(), Some(0));
}
