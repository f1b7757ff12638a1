//! Cases 28 and 31: HTTP/2 clients that reset, and that make the proxy keep what they do not take.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{Request, Response};
use tokio::net::TcpStream;

use crate::{
    limits::{limited, refused},
    support::{Client, Origin, Process, Protocol, ROUTE, eventually, full, soon, upstream},
};

const LARGE: usize = 1 << 20;

async fn large_origin() -> Origin {
    Origin::http(Protocol::Http1, |_| async { Response::new(full(vec![b'x'; LARGE])) }).await
}

/// A connection that leaves so much room for each response.
async fn with_window(address: std::net::SocketAddr, window: u32) -> SendRequest<Bytes> {
    let io = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = Builder::new().initial_window_size(window).handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// `GET /` with a header that fills most of what a head may have.
fn bomb() -> Request<()> {
    Request::get("http://a/").header("x-bomb", "x".repeat(16 << 10)).body(()).unwrap()
}

async fn response(sender: &mut SendRequest<Bytes>) -> h2::RecvStream {
    *sender = sender.clone().ready().await.unwrap();
    let response = sender.send_request(bomb(), true).unwrap().0;
    let response = soon("a response", response).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

#[tokio::test]
async fn case_31_header_bombs_without_a_window_are_reset() {
    let origin = large_origin().await;
    let proxy = limited("write_timeout = \"200ms\"", origin.address);
    let mut sender = with_window(proxy.address(), 0).await;
    for _ in 0..20 {
        let mut body = response(&mut sender).await;
        assert!(soon("the reset", body.data()).await.unwrap().unwrap_err().is_reset());
    }
    refused(&proxy, "write-timeout", 20).await;
    eventually("nothing is left at the origin", || origin.open() == 0).await;
}

#[tokio::test]
async fn case_31_a_window_that_drips_does_not_keep_a_stream() {
    let origin = large_origin().await;
    let proxy = limited("write_timeout = \"300ms\"", origin.address);
    let mut body = response(&mut with_window(proxy.address(), 1).await).await;
    let dripped = async {
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
        }
    };
    soon("the reset", dripped).await;
    refused(&proxy, "write-timeout", 1).await;
}

/// Resident memory of a process.
pub(crate) fn resident_bytes(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// What 100 streams that take nothing may pin. The goal of 4 MiB is for what the proxy keeps of them; with it go 100
/// connections to the origin.
const PINNED: usize = 8 << 20;

#[tokio::test]
async fn case_31_streams_that_take_nothing_pin_little() {
    let origin = large_origin().await;
    let process = Process::run(&format!(
        "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         {ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
    .await;
    let warm = Client::connect(Protocol::Http2, process.address()).await;
    assert_eq!(warm.get("/").await.body.len(), LARGE);
    let before = resident_bytes(process.id());
    let mut sender = with_window(process.address(), 0).await;
    let mut bodies = Vec::new();
    for _ in 0..100 {
        bodies.push(response(&mut sender).await);
    }
    let pinned = resident_bytes(process.id()).saturating_sub(before);
    assert!(pinned < PINNED, "{} KiB per stream", pinned / 100 / 1024);
    println!("{} KiB per stream", pinned / 100 / 1024);
}

#[tokio::test]
async fn case_28_a_rapid_reset_ends_the_connection_and_what_it_asked_for() {
    let origin = Origin::http(Protocol::Http1, |request| async move {
        if request.uri().path() == "/" {
            std::future::pending::<()>().await;
        }
        Response::new(full("ok"))
    })
    .await;
    let proxy = limited("", origin.address);
    let sender = with_window(proxy.address(), 65_535).await;
    let flood = async {
        loop {
            let Ok(mut ready) = sender.clone().ready().await else { return };
            let Ok((response, _)) = ready.send_request(Request::get("http://a/").body(()).unwrap(), true) else {
                return;
            };
            drop(response);
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(3), flood).await;
    eventually("nothing is left at the origin", || origin.open() == 0).await;
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/next").await.text(), "ok");
    drop(ended);
}
