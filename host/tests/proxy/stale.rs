//! The race for a kept connection: the upstream closes it while a request is sent on it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::{Client, Origin, Protocol, Proxy, full, get, post};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin whose first connection answers once, reads the next request and closes without a word; it counts requests
/// to `/counted`.
async fn closing_late() -> (Origin, Arc<AtomicUsize>) {
    let counted = Arc::<AtomicUsize>::default();
    let counter = counted.clone();
    let origin = Origin::raw(move |mut wire, number| {
        let counter = counter.clone();
        async move {
            let mut answers = 0;
            while let Some(message) = wire.message().await {
                counter.fetch_add(usize::from(message.start.contains(" /counted ")), Ordering::SeqCst);
                if number == 1 && answers == 1 {
                    return;
                }
                answers += 1;
                wire.send(OK).await;
            }
        }
    });
    (origin.await, counted)
}

#[tokio::test]
async fn case_46_an_idempotent_request_is_sent_once_more() {
    let (origin, counted) = closing_late().await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(client.exchange(get("/counted")).await.text(), "ok");
    assert_eq!((counted.load(Ordering::SeqCst), origin.connections()), (2, 2));
}

#[tokio::test]
async fn case_46_a_post_is_never_sent_twice() {
    let (origin, counted) = closing_late().await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(client.exchange(post("/counted", full("x"))).await.outcome(), (502, "reset"));
    assert_eq!(counted.load(Ordering::SeqCst), 1);
    assert_eq!(client.exchange(post("/", full("x"))).await.text(), "ok");
}
