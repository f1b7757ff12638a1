//! Opening a connection to an endpoint.

use std::io;

use tokio::net::TcpStream;

use super::EndpointKey;
use crate::transport::Transport;

/// Connects within `connect_timeout`, TLS handshake included.
///
/// # Errors
/// What the operating system or the TLS handshake said, or [`io::ErrorKind::TimedOut`].
pub(super) async fn connect(key: &EndpointKey) -> io::Result<Transport> {
    let connected = tokio::time::timeout(key.settings.connect_timeout, open(key));
    connected.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn open(key: &EndpointKey) -> io::Result<Transport> {
    let stream = TcpStream::connect(key.address).await?;
    stream.set_nodelay(true)?;
    match &key.settings.tls {
        None => Ok(Transport::Clear(stream)),
        // Handshakes are rare and their state is large.
        Some(tls) => Box::pin(tls.connect(stream, key)).await,
    }
}
