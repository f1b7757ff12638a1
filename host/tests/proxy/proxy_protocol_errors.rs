//! Connections that do not begin with the PROXY protocol where they have to: each is counted, and no other is.

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, Wire, soon, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn proxy(origin: &Origin) -> Proxy {
    Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\nproxy_protocol = true\n\
         limits = {{ header_timeout = \"300ms\" }}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

/// The sum of the series that begin so.
async fn count(proxy: &Proxy, series: &str) -> u64 {
    let metrics = Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/metrics").await;
    let values =
        metrics.text().lines().filter_map(|line| line.strip_prefix(series)?.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

#[tokio::test]
async fn a_connection_without_a_valid_header_is_counted() {
    let (origin, _received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = proxy(&origin).await;
    let beginnings: [&[u8]; 5] = [
        GET.as_bytes(),
        b"PROXY TCP4 192.0.2.7 198.51.100.2 4000 99999\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        // The rest never comes.
        b"PROXY TCP4 192.0.2.7",
        b"",
    ];
    for (refused, beginning) in (1..).zip(beginnings) {
        let mut wire = Wire::connect(proxy.address()).await;
        let _ = wire.try_send(beginning).await;
        assert_eq!(soon("the end", wire.rest()).await, b"");
        let counted = async { while count(&proxy, "meshup_proxy_protocol_errors_total").await != refused {} };
        soon("the count", counted).await;
    }
    assert_eq!(count(&proxy, "meshup_refusals_total{reason=\"header-timeout\"}").await, 2);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_valid_header_is_not_counted() {
    let (origin, _received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = proxy(&origin).await;
    for beginning in ["PROXY TCP4 192.0.2.7 198.51.100.2 4000 80\r\n", "PROXY UNKNOWN\r\n"] {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send([beginning, GET].concat()).await;
        assert_eq!(wire.message().await.unwrap().text(), "ok");
    }
    assert_eq!(count(&proxy, "meshup_proxy_protocol_errors_total").await, 0);
}
