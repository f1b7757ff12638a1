//! An origin that proves what reached it, behind a proxy that should have refused it.

use tokio::sync::mpsc;

use super::{Message, Origin, Protocol, Proxy, ROUTE, Wire, upstream};

/// What stands behind a bad request and must never be served.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// An origin that answers every request with 200 and keeps it, and the proxy before it.
pub(crate) struct Witness {
    pub(crate) proxy: Proxy,
    origin: Origin,
    received: mpsc::UnboundedReceiver<Message>,
}

impl Witness {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more keys of the listener.
    pub(crate) async fn with(keys: &str) -> Self {
        let (origin, received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let proxy = Proxy::start(&format!(
            "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{keys}\n{ROUTE}{}",
            upstream("origin", Protocol::Http1, &[origin.address])
        ));
        Self { proxy, origin, received }
    }

    /// Requires that `request` is answered with one of `statuses`, that nothing behind it is served, and that nothing
    /// reaches the origin.
    pub(crate) async fn refuses(&mut self, request: impl AsRef<[u8]>, statuses: &[u16]) {
        let request = request.as_ref();
        let shown = request.get(..200).unwrap_or(request).escape_ascii().to_string();
        let mut wire = Wire::connect(self.proxy.address()).await;
        wire.try_send([request, SMUGGLED.as_bytes()].concat()).await;
        let answer = wire.message().await.unwrap_or_else(|| panic!("no answer to {shown}"));
        assert!(statuses.contains(&answer.status()), "{shown} is answered with {answer:?}");
        let rest = wire.rest().await;
        assert!(rest.is_empty(), "{shown}: {:?} follows", String::from_utf8_lossy(&rest));
        self.saw_nothing(&shown);
    }

    /// Requires that nothing reached the origin so far.
    pub(crate) fn saw_nothing(&mut self, of: &str) {
        let received = self.received.try_recv().ok();
        assert!(received.is_none(), "{of} reached the origin: {received:?}");
        assert_eq!(self.origin.connections(), 0, "{of}");
    }

    /// Requires that `request` is forwarded and answered with 200; what the origin got.
    pub(crate) async fn forwards(&mut self, request: impl AsRef<[u8]>) -> Message {
        let request = request.as_ref();
        let shown = request.escape_ascii().to_string();
        let mut wire = Wire::connect(self.proxy.address()).await;
        wire.send(request).await;
        let answer = wire.message().await.unwrap_or_else(|| panic!("no answer to {shown}"));
        assert_eq!(answer.status(), 200, "{shown} is answered with {answer:?}");
        self.received.try_recv().unwrap_or_else(|_| panic!("{shown} did not reach the origin"))
    }

    /// Requires that `request` is forwarded and answered with 200, whatever the method and the interim responses.
    pub(crate) async fn accepts(&mut self, request: impl AsRef<[u8]>) {
        let request = request.as_ref();
        let shown = request.escape_ascii().to_string();
        let mut wire = Wire::connect(self.proxy.address()).await;
        wire.send(request).await;
        loop {
            let answer = wire.head().await.unwrap_or_else(|| panic!("no answer to {shown}"));
            if answer.status() != 100 {
                assert_eq!(answer.status(), 200, "{shown} is answered with {answer:?}");
                break;
            }
        }
        assert!(self.received().is_some(), "{shown} did not reach the origin");
    }

    /// What the origin got next, if anything.
    pub(crate) fn received(&mut self) -> Option<Message> {
        self.received.try_recv().ok()
    }
}
