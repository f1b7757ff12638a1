//! Where a client meant to go before the packet filter redirected its connection here.
//!
//! It reads what the system knows; `meshup intercept` is what installs redirects.
//!
//! **Invariant:** a destination is never the address that the connection arrived at: going there would be a loop.

use std::{io, net::SocketAddr};

use socket2::SockRef;
use tokio::net::TcpStream;

/// The original destination of a connection that arrived at `local`; `None` when it was made to `local` itself, or when
/// the system knows nothing about it.
pub(super) fn original(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    match lookup(stream, local) {
        Ok(destination) => destination.filter(|destination| *destination != canonical(local)),
        Err(error) => {
            tracing::debug!(%local, %error, "no original destination");
            None
        }
    }
}

/// A connection over IPv4 is asked for an IPv4 address also where the socket is one for both.
fn lookup(stream: &TcpStream, local: SocketAddr) -> io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(stream);
    let found = if canonical(local).is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    Ok(found?.as_socket().map(canonical))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
