//! The PROXY protocol: whose connection it is stands before the first request.

use crate::support::{Message, Origin, Protocol, Proxy, ROUTE, Wire, soon, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 2, 0x0f, 0xa0, 0, 80];

fn version2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &len, block].concat()
}

async fn proxy() -> (Proxy, tokio::sync::mpsc::UnboundedReceiver<Message>, Origin) {
    let (origin, received) = Origin::canned(OK).await;
    let proxy = Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\nproxy_protocol = true\n\
         limits = {{ header_timeout = \"500ms\" }}\n{ROUTE}{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ));
    (proxy, received, origin)
}

#[tokio::test]
async fn the_announced_client_is_the_client() {
    let (proxy, mut received, _origin) = proxy().await;
    let with_values = [&V4[..], &[4, 0, 2, 1, 2]].concat();
    let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9], &[0; 16], &[1, 2, 3, 4]].concat();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 198.51.100.2 4000 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::9 ::1 4000 80\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version2(0x21, 0x11, &V4), "192.0.2.7"),
        (version2(0x21, 0x11, &with_values), "192.0.2.7"),
        (version2(0x21, 0x21, &v6), "2001:db8::9"),
        (version2(0x20, 0x00, &[]), "127.0.0.1"),
        (version2(0x20, 0x11, &V4), "127.0.0.1"),
    ] {
        let whole = [&header[..], GET.as_bytes()].concat();
        for piece in [whole.len(), 1] {
            let mut wire = Wire::connect(proxy.address()).await;
            for bytes in whole.chunks(piece) {
                wire.send(bytes).await;
            }
            assert_eq!(wire.message().await.unwrap().text(), "ok");
            let seen = received.recv().await.unwrap();
            assert_eq!(seen.field("x-forwarded-for"), Some(client), "{header:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_without_a_valid_header_is_closed_without_a_word() {
    let (proxy, mut received, _origin) = proxy().await;
    let too_long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    for beginning in [
        GET.as_bytes(),
        b"PROXY TCP4 192.0.2.7 198.51.100.2 4000 99999\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.2 +4000 80\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.2 4000 080\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.2 4000 80\n",
        too_long.as_bytes(),
        &version2(0x31, 0x11, &V4),
        &version2(0x21, 0x11, &V4[..8]),
        &version2(0x21, 0x11, &[0; 5000]),
        // Nothing more comes: the header is late.
        b"PROXY TCP4 192.0.2.7",
        b"",
    ] {
        let mut wire = Wire::connect(proxy.address()).await;
        let _ = wire.try_send(beginning).await;
        assert_eq!(soon("the end", wire.rest()).await, b"", "{:?}", String::from_utf8_lossy(beginning));
    }
    assert!(received.try_recv().is_err());
}
