//! Origins at addresses of a test's choice, several of them on one port.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, sync::Semaphore};

use super::Wire;

pub(crate) const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
pub(crate) const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub(crate) const SIXTH: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// An origin at an address of the test's choice. It answers with that address, `/slow` not before it may.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) accepted: Arc<AtomicUsize>,
    pub(crate) slow: Arc<Semaphore>,
    pub(crate) waiting: Arc<AtomicUsize>,
}

impl Place {
    pub(crate) async fn open(ip: IpAddr, port: u16) -> Option<Self> {
        let listener = TcpListener::bind((ip, port)).await.ok()?;
        let place = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::default(),
            accepted: Arc::default(),
            slow: Arc::new(Semaphore::new(0)),
            waiting: Arc::default(),
        };
        let (open, accepted) = (place.open.clone(), place.accepted.clone());
        let (slow, waiting) = (place.slow.clone(), place.waiting.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                open.fetch_add(1, Ordering::SeqCst);
                accepted.fetch_add(1, Ordering::SeqCst);
                let (open, slow, waiting) = (open.clone(), slow.clone(), waiting.clone());
                tokio::spawn(async move {
                    let mut wire = Wire::over(stream);
                    while let Some(request) = wire.message().await {
                        if request.start.contains("/slow") {
                            waiting.fetch_add(1, Ordering::SeqCst);
                            slow.acquire().await.unwrap().forget();
                        }
                        let text = ip.to_string();
                        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Some(place)
    }

    /// Origins at several addresses, all on one port.
    pub(crate) async fn open_all<const N: usize>(ips: [IpAddr; N]) -> [Self; N] {
        loop {
            let port = TcpListener::bind((ips[0], 0)).await.unwrap().local_addr().unwrap().port();
            let mut places = Vec::new();
            for ip in ips {
                places.extend(Self::open(ip, port).await);
            }
            if let Ok(places) = places.try_into() {
                return places;
            }
        }
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}
