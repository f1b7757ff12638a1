//! What a filter fetches is a request to an upstream like any other, and counted so.

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, filter, soon, upstream};

async fn counted_after(origin: &Origin, millis: u64, line: &str) {
    let fetch = format!("{{ fetch = {{ upstream = \"asked\", millis = {millis}, limit = 9 }} }}");
    let upstream = upstream("asked", Protocol::Http1, &[origin.address]);
    let route = ROUTE.replace("\"origin\"", "\"asked\"");
    let proxy = Proxy::start(&format!("{route}filters = [\"f\"]\n{}{upstream}", filter("f", &fetch)));
    Client::to(&proxy, Protocol::Http1).await.get("/").await;
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    soon(line, async { while !admin.get("/metrics").await.text().contains(line) {} }).await;
}

fn line(result: &str) -> String {
    format!("meshup_upstream_requests_total{{upstream=\"asked\",result=\"{result}\"}} 1\n")
}

#[tokio::test]
async fn an_answered_fetch_is_counted_by_its_status() {
    let (origin, _received) = Origin::canned("HTTP/1.1 203 X\r\nContent-Length: 6\r\n\r\nanswer").await;
    counted_after(&origin, 20_000, &line("203")).await;
}

#[tokio::test]
async fn a_failed_fetch_is_counted_by_its_error() {
    let origin = Origin::raw(|mut wire, _| async move { drop(wire.rest().await) }).await;
    counted_after(&origin, 50, &line("timeout")).await;
}
