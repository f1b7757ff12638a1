//! Opening a connection to an endpoint.

use std::{io, net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connects within `timeout`.
///
/// # Errors
/// What the operating system said, or [`io::ErrorKind::TimedOut`].
pub(super) async fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TokioIo<TcpStream>> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}
