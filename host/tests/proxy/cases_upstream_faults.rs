//! Case 45: endpoints that refuse, swallow or drop connections. Clients get another endpoint's answer, or an error in
//! time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::Response;
use socket2::{Domain, Socket, Type};

use crate::support::{Answer, Client, Origin, Protocol, Proxy, ROUTE, Refusing, full, get, upstream};

/// An address whose connections are never made: its queue is full and nobody accepts.
struct Blackhole {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Blackhole {
    fn new() -> Self {
        let tcp = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = tcp();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let filler = tcp();
            filler.set_nonblocking(true).unwrap();
            // In progress: the system completes one or two, and none of the next.
            let _ = filler.connect(&address.into());
            sockets.push(filler);
        }
        Self { address, _sockets: sockets }
    }
}

async fn good_origin() -> Origin {
    Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await
}

fn before(endpoints: &[SocketAddr], keys: &str) -> Proxy {
    Proxy::start(&format!("{ROUTE}{}{keys}", upstream("origin", Protocol::Http1, endpoints)))
}

/// What a client gets, at the latest within five seconds.
async fn in_time(proxy: &Proxy) -> Answer {
    let asked = Instant::now();
    let answer = Client::to(proxy, Protocol::Http1).await.exchange(get("/")).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    answer
}

#[tokio::test]
async fn case_45_an_endpoint_that_refuses_is_passed_over() {
    let (refusing, origin) = (Refusing::new(), good_origin().await);
    let proxy = before(&[refusing.address, origin.address], "");
    for _ in 0..20 {
        assert_eq!(in_time(&proxy).await.text(), "ok");
    }
    assert_eq!(in_time(&before(&[refusing.address], "")).await.outcome(), (503, "connect-failure"));
}

#[tokio::test]
async fn case_45_an_endpoint_that_swallows_connections_is_passed_over() {
    let (blackhole, origin) = (Blackhole::new(), good_origin().await);
    let keys = "connect_timeout = \"200ms\"";
    let proxy = before(&[blackhole.address, origin.address], keys);
    for _ in 0..5 {
        assert_eq!(in_time(&proxy).await.text(), "ok");
    }
    assert_eq!(in_time(&before(&[blackhole.address], keys)).await.outcome(), (503, "connect-failure"));
}

#[tokio::test]
async fn case_45_an_endpoint_that_resets_or_never_answers_is_told_apart() {
    let resetting = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.reset();
    })
    .await;
    assert_eq!(in_time(&before(&[resetting.address], "")).await.outcome(), (502, "reset"));
    let silent = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    let answer = in_time(&before(&[silent.address], "response_timeout = \"200ms\"")).await;
    assert_eq!(answer.outcome(), (504, "timeout"));
}
