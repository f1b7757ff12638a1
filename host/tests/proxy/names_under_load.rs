//! Answers that change while requests come without a pause.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hickory_proto::rr::RecordType;

use crate::{
    names::{NAME, answers, config, named},
    support::{
        Client, NameServer, Protocol, Proxy, Saying, eventually, full,
        place::{FIRST, Place, SECOND},
        post,
    },
};

/// Clients that ask again and again until told to stop.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Load {
    async fn start(proxy: &Proxy) -> Self {
        let over = Arc::<AtomicBool>::default();
        let mut clients = Vec::new();
        for protocol in [Protocol::Http1, Protocol::Http1, Protocol::Http2] {
            clients.push(tokio::spawn(ask_on(Client::to(proxy, protocol).await, over.clone())));
        }
        Self { over, clients }
    }

    /// Every client had answers, and all of them were good.
    async fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}

async fn ask_on(client: Client, over: Arc<AtomicBool>) -> usize {
    let mut answers = 0;
    while !over.load(Ordering::SeqCst) {
        // Never sent twice by the proxy.
        let answer = client.exchange(post("/", full("order"))).await;
        assert_eq!(answer.outcome(), (200, ""), "after {answers}: {}", answer.text());
        answers += 1;
    }
    answers
}

#[tokio::test]
async fn case_48_dns_changed_and_failing_under_load_loses_no_request() {
    let [first, second] = Place::open_all([FIRST, SECOND]).await;
    let server = NameServer::start();
    server.host(NAME, 0, &[FIRST]);
    let proxy = Proxy::start(&config(&server, &named(first.address.port())));
    let load = Load::start(&proxy).await;
    server.host(NAME, 0, &[SECOND]);
    answers(&proxy, SECOND).await;
    eventually("connections to the first drain", || first.open_connections() == 0).await;
    let asked = server.asked(NAME, RecordType::A).len();
    server.say(NAME, &Saying::NO_NAME);
    eventually("a look-up fails", || server.asked(NAME, RecordType::A).len() >= asked + 2).await;
    server.host(NAME, 0, &[FIRST]);
    answers(&proxy, FIRST).await;
    eventually("connections to the second drain", || second.open_connections() == 0).await;
    server.host(NAME, 0, &[FIRST, SECOND]);
    answers(&proxy, SECOND).await;
    load.end().await;
}
