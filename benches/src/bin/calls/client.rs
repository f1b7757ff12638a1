//! Who sends the requests: so many at a time, over connections or, with HTTP/2, over streams of one.
//!
//! **Invariant:** when a round is over, nothing is under way.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshup_benches::{browser::Browser, peers::Protocol, work::Work};
use tokio::{net::TcpStream, runtime::Runtime, task::JoinSet};

/// A client of one protocol.
pub(crate) enum Client {
    Http1(Browser),
    Http2(Streams),
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, protocol: Protocol, at_a_time: usize) -> Result<Self> {
        Ok(match protocol {
            Protocol::Http2 => Self::Http2(Streams::connect(address, at_a_time)?),
            Protocol::Http1 => Self::Http1(Browser::connect(address, at_a_time)?),
        })
    }

    /// Sends so many requests.
    pub(crate) fn run(&mut self, requests: usize) -> Result<()> {
        match self {
            Self::Http1(browser) => browser.run(requests),
            Self::Http2(streams) => streams.run(requests),
        }
    }
}

/// An HTTP/2 connection.
pub(crate) struct Streams {
    runtime: Runtime,
    sender: http2::SendRequest<Full<Bytes>>,
    at_a_time: usize,
}

impl Streams {
    fn connect(address: SocketAddr, at_a_time: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            anyhow::Ok(sender)
        })?;
        Ok(Self { runtime, sender, at_a_time })
    }

    fn run(&mut self, requests: usize) -> Result<()> {
        let Self { runtime, sender, at_a_time } = self;
        runtime.block_on(async {
            for _ in 0..requests / *at_a_time {
                let mut streams: JoinSet<_> = (0..*at_a_time).map(|_| ask(sender.clone())).collect();
                while let Some(done) = streams.join_next().await {
                    done??;
                }
            }
            Ok(())
        })
    }
}

async fn ask(mut sender: http2::SendRequest<Full<Bytes>>) -> Result<()> {
    let response = sender.send_request(Work::Get.request(Protocol::Http2, "http")).await?;
    ensure!(response.status().is_success(), "{}", response.status());
    response.into_body().collect().await?;
    Ok(())
}
