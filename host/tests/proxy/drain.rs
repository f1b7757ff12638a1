//! The end of the process: what runs is finished, nothing is lost, and nobody waits for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Response;

use crate::support::{Client, Origin, Process, Protocol, ROUTE, empty, eventually, full, get, post, soon, upstream};

fn config(keys: &str, origin: &Origin) -> String {
    format!(
        "workers = 2\n{keys}\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\n\
         listen = \"127.0.0.1:0\"\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    )
}

async fn origin() -> Origin {
    Origin::http(Protocol::Http1, |request| async move {
        drop(http_body_util::BodyExt::collect(request.into_body()).await);
        Response::new(full("ok"))
    })
    .await
}

/// Asks, on one connection after the other, until the proxy refuses connections. Every request sent is answered.
async fn ask_until_closed(protocol: Protocol, address: std::net::SocketAddr, answered: Arc<AtomicUsize>) {
    while let Some(client) = Client::try_connect(protocol, address).await {
        loop {
            match client.try_send(post("/", full("content"))).await {
                Ok(response) => {
                    let closes = response.headers().contains_key("connection");
                    let answer = crate::support::Answer::read(response).await.unwrap();
                    assert_eq!((answer.outcome(), answer.text()), ((200, ""), "ok"));
                    answered.fetch_add(1, Ordering::SeqCst);
                    if closes {
                        break;
                    }
                }
                // The connection was closing before the request was sent.
                Err(error) if error.is_canceled() || error.is_closed() => break,
                Err(error) => panic!("{protocol:?}: {error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn no_exchange_is_lost_when_the_process_is_told_to_end() {
    let origin = origin().await;
    let process = Process::run(&config("drain_delay = \"200ms\"", &origin)).await;
    let answered = Arc::<AtomicUsize>::default();
    let clients: Vec<_> = [Protocol::Http1, Protocol::Http2]
        .repeat(4)
        .into_iter()
        .map(|protocol| tokio::spawn(ask_until_closed(protocol, process.address(), answered.clone())))
        .collect();
    eventually("load", || answered.load(Ordering::SeqCst) > 200).await;
    process.signal("TERM");
    for client in clients {
        soon("a client", client).await.unwrap();
    }
    assert_eq!(process.ended().await.code(), Some(0));
}

async fn readiness(admin: std::net::SocketAddr) -> u16 {
    Client::connect(Protocol::Http1, admin).await.get("/readyz").await.status.as_u16()
}

#[tokio::test]
async fn readiness_fails_at_once_while_requests_are_served_on() {
    let origin = origin().await;
    let process = Process::run(&config("drain_delay = \"20s\"\ndrain_timeout = \"40s\"", &origin)).await;
    soon("readiness", async { while readiness(process.admin()).await != 200 {} }).await;
    process.signal("TERM");
    soon("the announcement", async { while readiness(process.admin()).await != 503 {} }).await;
    let answer = Client::connect(Protocol::Http1, process.address()).await.get("/").await;
    assert_eq!((answer.text(), answer.header("connection")), ("ok", "close"));
}

#[tokio::test]
async fn an_exchange_under_way_is_finished_and_an_idle_connection_is_closed() {
    let (origin, gate) = Origin::gated(Protocol::Http1).await;
    for protocol in Protocol::BOTH {
        let process = Process::run(&config("drain_idle_grace = \"100ms\"", &origin)).await;
        let _idle = Client::connect(protocol, process.address()).await;
        let before = origin.requests();
        let client = Client::connect(protocol, process.address()).await;
        let asking = tokio::spawn(async move { client.get("/").await });
        eventually("the request arrives", || origin.requests() > before).await;
        process.signal("TERM");
        soon("the listener closes", async { while tokio::net::TcpStream::connect(process.address()).await.is_ok() {} })
            .await;
        gate.add_permits(1);
        let answer = soon("the answer", asking).await.unwrap();
        assert_eq!(answer.text(), "ok");
        assert!(protocol == Protocol::Http2 || answer.header("connection") == "close");
        assert_eq!(process.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_at_the_drain_timeout() {
    let origin = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    let process = Process::run(&config("drain_timeout = \"300ms\"", &origin)).await;
    let client = Client::connect(Protocol::Http1, process.address()).await;
    let asking = tokio::spawn(async move { client.try_send(get("/")).await });
    eventually("the request arrives", || origin.connections() == 1).await;
    let told = Instant::now();
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(told.elapsed() >= Duration::from_millis(250));
    assert!(soon("the cut", asking).await.unwrap().is_err());
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let origin = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    let process = Process::run(&config("", &origin)).await;
    soon("readiness", async { while readiness(process.admin()).await != 200 {} }).await;
    let client = Client::connect(Protocol::Http1, process.address()).await;
    let asking = tokio::spawn(async move { client.try_send(post("/", empty())).await });
    eventually("the request arrives", || origin.connections() == 1).await;
    process.signal("TERM");
    soon("the drain", async { while readiness(process.admin()).await != 503 {} }).await;
    assert_eq!(process.ended_by_repeating("INT").await.code(), Some(1));
    asking.abort();
}

#[tokio::test]
async fn a_hang_up_reloads_the_configuration() {
    let origin = origin().await;
    let process = Process::run(&config("", &origin)).await;
    assert_eq!(Client::connect(Protocol::Http1, process.address()).await.get("/").await.text(), "ok");
    let config = std::fs::read_to_string(process.config()).unwrap();
    std::fs::write(process.config(), config.replace("[[routes]]", "[[routes]]\nmatch = { path = \"/only\" }")).unwrap();
    process.signal("HUP");
    let status = async || Client::connect(Protocol::Http1, process.address()).await.get("/").await.status;
    soon("the new routes", async { while status().await != 404 {} }).await;
}
