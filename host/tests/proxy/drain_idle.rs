//! What a drain does to connections without a request: naive clients, which look at a connection only when they use it,
//! lose none.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::support::{Client, Message, Origin, Process, Protocol, ROUTE, Wire, soon, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// For how long the drain left idle connections open before there was a key for it, and more.
const PAUSE: Duration = Duration::from_millis(1300);

fn listener(name: &str, ip: &str) -> String {
    format!("[[listeners]]\nname = \"{name}\"\nlisten = \"{ip}:0\"\n")
}

fn config(keys: &str, listeners: &str, origin: &Origin) -> String {
    let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
    format!("workers = 2\n{keys}\n[admin]\nlisten = \"127.0.0.1:0\"\n{listeners}{ROUTE}{upstream}")
}

/// A process with these keys, and its origin.
async fn started(keys: &str) -> (Process, Origin) {
    let (origin, _received) = Origin::canned(OK).await;
    (Process::run(&config(keys, &listener("http", "127.0.0.1"), &origin)).await, origin)
}

/// A connection that was used, and has been idle since.
async fn used(address: SocketAddr) -> Wire {
    let mut wire = Wire::connect(address).await;
    let answer = ask(&mut wire).await;
    assert_eq!((answer.text(), answer.field("connection")), ("ok", None));
    wire
}

async fn ask(wire: &mut Wire) -> Message {
    wire.send(GET).await;
    wire.message().await.expect("an answer")
}

/// Nothing comes for `pause`, not even the end.
async fn stays_open(wire: &mut Wire, pause: Duration) {
    let until = Instant::now() + pause;
    while Instant::now() < until {
        assert!(wire.is_silent().await);
    }
}

/// The answer that says that it is the last one, and the end.
async fn last_answer(wire: &mut Wire) {
    let answer = ask(wire).await;
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
    assert_eq!(wire.rest().await, b"");
}

async fn readiness(admin: SocketAddr) -> u16 {
    Client::connect(Protocol::Http1, admin).await.get("/readyz").await.status.as_u16()
}

async fn drain(process: &Process) {
    process.signal("TERM");
    soon("the announcement", async { while readiness(process.admin()).await != 503 {} }).await;
}

#[tokio::test]
async fn an_idle_connection_has_one_more_request() {
    let (process, _origin) = started("").await;
    let (mut resting, mut unused) = (used(process.address()).await, Wire::connect(process.address()).await);
    // For so long that it rests.
    stays_open(&mut resting, Duration::from_millis(2200)).await;
    let mut idle = used(process.address()).await;
    drain(&process).await;
    stays_open(&mut idle, PAUSE).await;
    for wire in [&mut idle, &mut resting, &mut unused] {
        last_answer(wire).await;
    }
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_grace() {
    let (process, _origin) = started("drain_idle_grace = \"500ms\"").await;
    let mut unused = Wire::connect(process.address()).await;
    let mut idle = used(process.address()).await;
    let told = Instant::now();
    process.signal("TERM");
    assert_eq!((idle.rest().await, unused.rest().await), (vec![], vec![]));
    assert!(told.elapsed() >= Duration::from_millis(450), "{:?}", told.elapsed());
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_resting_connection_is_closed_after_its_grace() {
    let (process, _origin) = started("drain_idle_grace = \"500ms\"").await;
    let mut resting = used(process.address()).await;
    stays_open(&mut resting, Duration::from_millis(2200)).await;
    let told = Instant::now();
    process.signal("TERM");
    assert_eq!(resting.rest().await, b"");
    assert!(told.elapsed() >= Duration::from_millis(450), "{:?}", told.elapsed());
}

#[tokio::test]
async fn the_grace_begins_with_the_last_response() {
    let finish = std::sync::Arc::new(tokio::sync::Notify::new());
    let wait = finish.clone();
    let origin = Origin::raw(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            wire.head().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            wait.notified().await;
            wire.send("world").await;
            wire.head().await;
            wire.send(OK).await;
            let _ = wire.rest().await;
        }
    })
    .await;
    let process = Process::run(&config("drain_idle_grace = \"3s\"", &listener("http", "127.0.0.1"), &origin)).await;
    let mut wire = Wire::connect(process.address()).await;
    wire.send(GET).await;
    assert!(wire.through("hello").await.is_some());
    drain(&process).await;
    stays_open(&mut wire, Duration::from_millis(1800)).await;
    finish.notify_one();
    assert_eq!(wire.take(5).await, b"world");
    stays_open(&mut wire, Duration::from_millis(1500)).await;
    last_answer(&mut wire).await;
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_that_began_within_the_grace_is_served() {
    let (process, _origin) = started("drain_idle_grace = \"500ms\"").await;
    let mut wire = used(process.address()).await;
    wire.send(&GET[..10]).await;
    drain(&process).await;
    stays_open(&mut wire, PAUSE).await;
    wire.send(&GET[10..]).await;
    let answer = wire.message().await.unwrap();
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
}

#[tokio::test]
async fn without_a_connection_nobody_is_waited_for() {
    let (process, _origin) = started("drain_timeout = \"60s\"\ndrain_idle_grace = \"60s\"").await;
    // Longer than what `ended` waits would be a failure.
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_does_not_outlast_the_drain_timeout() {
    for grace in ["", "drain_idle_grace = \"500ms\""] {
        let (process, _origin) = started(&format!("drain_timeout = \"500ms\"\n{grace}")).await;
        let mut idle = used(process.address()).await;
        let told = Instant::now();
        process.signal("TERM");
        assert_eq!(idle.rest().await, b"");
        assert!(told.elapsed() >= Duration::from_millis(450), "{:?}", told.elapsed());
        assert_eq!(process.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn connections_of_a_listener_that_a_reload_removes_have_one_more_request() {
    let (origin, _received) = Origin::canned(OK).await;
    let both = config("", &(listener("removed", "127.0.0.1") + &listener("kept", "127.0.0.2")), &origin);
    let process = Process::run(&both).await;
    let mut idle = used(process.address()).await;
    std::fs::write(process.config(), config("", &listener("kept", "127.0.0.2"), &origin)).unwrap();
    process.signal("HUP");
    let open = async || tokio::net::TcpStream::connect(process.address()).await.is_ok();
    soon("the listener closes", async { while open().await {} }).await;
    stays_open(&mut idle, PAUSE).await;
    last_answer(&mut idle).await;
}
