//! What a connection may keep waiting: bytes that the other side does not take. Case 41, and the buffers' keys.

use std::time::Duration;

use http::Response;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    cases_http2_load::resident_bytes,
    cases_load::cpu_ticks,
    limits::{limited, reading_origin, refused},
    support::{
        Client, Origin, Process, Protocol, ROUTE, Wire,
        frames::{DATA, END_STREAM, Field, Frames, Outcome, SETTINGS, WINDOW_UPDATE, frame, get_with, headers},
        full, post, soon, upstream,
    },
};

/// Connections, or streams, of a test.
const MANY: usize = 20;
/// Larger than every buffer on its way.
const LARGE: usize = 32 << 20;
const FLOW_CONTROL_ERROR: u32 = 3;

async fn process(limits: &str, origin: &Origin) -> Process {
    Process::run(&format!(
        "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         limits = {{ {limits} }}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
    .await
}

/// Waits until the process has nothing to do.
async fn quiet(process: &Process) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let settled = async {
        loop {
            let before = cpu_ticks(process.id());
            ticks.tick().await;
            ticks.tick().await;
            if cpu_ticks(process.id()) == before {
                return;
            }
        }
    };
    soon("the process has nothing to do", settled).await;
}

/// Waits until the process holds more memory than that.
async fn grows(process: &Process, bytes: usize) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while resident_bytes(process.id()) <= bytes {
        ticks.tick().await;
    }
}

/// What the process grew by, for each of [`MANY`].
async fn each_pins(process: &Process, before: usize) -> usize {
    quiet(process).await;
    let each = resident_bytes(process.id()).saturating_sub(before) / MANY;
    println!("{} KiB each", each / 1024);
    each
}

/// An origin that reads heads and no bodies.
async fn deaf_origin() -> Origin {
    Origin::raw(|mut wire, _| async move {
        wire.head().await;
        std::future::pending::<()>().await;
    })
    .await
}

async fn large_origin() -> Origin {
    Origin::http(Protocol::Http1, |_| async { Response::new(full(vec![b'x'; LARGE])) }).await
}

#[tokio::test]
async fn case_41_a_fast_client_of_a_slow_upstream_is_slowed_down() {
    let origin = deaf_origin().await;
    let process = process("max_header_bytes = \"16KiB\", http1_buffer = \"16KiB\"", &origin).await;
    let before = resident_bytes(process.id());
    let mut clients = Vec::new();
    for _ in 0..MANY {
        let mut stream = TcpStream::connect(process.address()).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 33554432\r\n\r\n").await.unwrap();
        let mut sending = Box::pin(async move { stream.write_all(&vec![b'x'; LARGE]).await });
        let sent = tokio::time::timeout(Duration::from_millis(50), &mut sending).await;
        assert!(sent.is_err(), "all of it was taken");
        clients.push(tokio::spawn(sending));
    }
    assert!(each_pins(&process, before).await < 200 << 10);
    assert!(clients.iter().all(|client| !client.is_finished()), "more than buffers hold was taken");
}

#[tokio::test]
async fn case_41_a_slow_reader_of_a_fast_upstream_slows_it_down() {
    let origin = large_origin().await;
    let process = process("max_header_bytes = \"16KiB\", http1_buffer = \"16KiB\"", &origin).await;
    let before = resident_bytes(process.id());
    let mut readers = Vec::new();
    for _ in 0..MANY {
        let mut wire = Wire::connect(process.address()).await;
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        readers.push(wire);
    }
    assert!(each_pins(&process, before).await < 250 << 10);
    for wire in &mut readers {
        assert_eq!(wire.message().await.unwrap().body.len(), LARGE, "it may read on");
    }
}

/// Asks for [`MANY`] responses, for which there is room in every window, and reads none.
async fn reads_nothing(process: &Process) -> Wire {
    let mut wire = Wire::connect(process.address()).await;
    let wide = [&[0, 4][..], &(1_u32 << 30).to_be_bytes()].concat();
    let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &wide)].concat();
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
    for stream in 0..u32::try_from(MANY).unwrap() {
        bytes.extend(headers(2 * stream + 1, END_STREAM, &get_with(&[])));
    }
    wire.send(bytes).await;
    wire
}

#[tokio::test]
async fn case_41_http_2_streams_wait_in_small_buffers() {
    let origin = large_origin().await;
    let small = process("http2_send_buffer = \"16KiB\"", &origin).await;
    let before = resident_bytes(small.id());
    let _wire = reads_nothing(&small).await;
    let pinned = each_pins(&small, before).await;
    assert!(pinned < 250 << 10, "{pinned}");
    let large = process("http2_send_buffer = \"4MiB\"", &origin).await;
    let before = resident_bytes(large.id());
    let _wire = reads_nothing(&large).await;
    soon("a large buffer takes more", grows(&large, before + 2 * pinned * MANY)).await;
}

#[tokio::test]
async fn bodies_larger_than_every_buffer_come_through() {
    let origin = reading_origin().await;
    let limits = "max_header_bytes = \"8KiB\", http1_buffer = \"8KiB\", http2_stream_window = \"8KiB\", \
                  http2_connection_window = \"64KiB\"";
    let proxy = limited(limits, origin.address);
    for protocol in Protocol::BOTH {
        let client = Client::to(&proxy, protocol).await;
        assert_eq!(client.exchange(post("/", full(vec![b'x'; 1 << 20]))).await.text(), "Ok(1048576)");
    }
}

const POST: [Field<'_>; 4] = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];

/// A request with so many bytes behind it, of which none was asked for.
fn unasked(stream: u32, bytes: usize) -> Vec<u8> {
    let data = vec![b'x'; bytes];
    let data = data.chunks(16 << 10).flat_map(|part| frame(DATA, 0, stream, part));
    headers(stream, 0, &POST).into_iter().chain(data).collect()
}

#[tokio::test]
async fn a_request_that_overruns_its_window_is_reset() {
    let origin = deaf_origin().await;
    let proxy = limited("http2_stream_window = \"16KiB\"", origin.address);
    let mut frames = Frames::to(&proxy).await;
    frames.settled().await;
    frames.send(unasked(1, 48 << 10)).await;
    assert_eq!(frames.outcome(1).await, Outcome::Reset(FLOW_CONTROL_ERROR));
}

#[tokio::test]
async fn a_connection_that_overruns_its_window_is_ended() {
    let origin = deaf_origin().await;
    let proxy = limited("http2_stream_window = \"64KiB\", http2_connection_window = \"64KiB\"", origin.address);
    let mut frames = Frames::to(&proxy).await;
    frames.settled().await;
    frames.send([unasked(1, 48 << 10), unasked(3, 48 << 10)].concat()).await;
    assert_eq!(frames.outcome(0).await, Outcome::GoAway(FLOW_CONTROL_ERROR));
    refused(&proxy, "http2-error", 1).await;
}
