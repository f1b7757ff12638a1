//! The PROXY protocol, versions 1 and 2: a load balancer says whose connection it hands over, before anything else.
//!
//! Source: the HAProxy project's "The PROXY protocol", sections 2.1 and 2.2. Type-length-values behind the addresses
//! are read over.
//!
//! **Invariant:** not one byte behind the header is taken from the stream.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::TcpStream};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its CR LF.
const MAX_LINE: usize = 107;
/// The most that version 2 may say behind its fixed part.
const MAX_BLOCK: usize = 4096;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    pub client: SocketAddr,
    /// The address the client reached.
    pub local: SocketAddr,
}

/// Why a connection is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("no PROXY protocol header in time")]
    Late,
    #[error("the PROXY protocol header ended early: {0}")]
    Read(#[from] io::Error),
    #[error("not a PROXY protocol header")]
    Malformed,
}

/// Reads the header; none where the sender speaks for itself (LOCAL), or knows nothing of the client (UNKNOWN, UNSPEC).
///
/// # Errors
/// [`ProxyError`]: the connection must be closed.
pub(super) async fn read(stream: &mut TcpStream, patience: Duration) -> Result<Option<Announced>, ProxyError> {
    tokio::time::timeout(patience, header(stream)).await.map_err(|_elapsed| ProxyError::Late)?
}

async fn header(stream: &mut TcpStream) -> Result<Option<Announced>, ProxyError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        return version2(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(ProxyError::Malformed);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        more_of_line(stream, &mut line).await?;
    }
    parse_line(&line)
}

/// Takes what has arrived of a line, and nothing behind it.
async fn more_of_line(stream: &mut TcpStream, line: &mut Vec<u8>) -> Result<(), ProxyError> {
    let mut ahead = [0; MAX_LINE];
    let room = ahead.get_mut(line.len()..).filter(|room| !room.is_empty()).ok_or(ProxyError::Malformed)?;
    let seen = stream.peek(room).await?;
    let seen = room.get_mut(..seen).filter(|seen| !seen.is_empty());
    let seen = seen.ok_or_else(|| ProxyError::Read(io::ErrorKind::UnexpectedEof.into()))?;
    let len = memchr::memchr(b'\n', seen).map_or(seen.len(), |end| end + 1);
    let part = seen.get_mut(..len).unwrap_or_default();
    stream.read_exact(part).await?;
    line.extend_from_slice(part);
    Ok(())
}

/// `PROXY TCP4 source destination port port`, or `PROXY UNKNOWN` and whatever.
fn parse_line(line: &[u8]) -> Result<Option<Announced>, ProxyError> {
    let text = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n"));
    let mut words = text.ok_or(ProxyError::Malformed)?.split(' ').skip(1);
    match words.next() {
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4" | "TCP6") => {}
        _ => return Err(ProxyError::Malformed),
    }
    let v4 = text.is_some_and(|text| text.starts_with("PROXY TCP4 "));
    let mut address = || words.next()?.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == v4);
    let (client, local) = (address(), address());
    let mut port = || port(words.next()?);
    let (client_port, local_port) = (port(), port());
    let announced = match (client, local, client_port, local_port, words.next()) {
        (Some(client), Some(local), Some(client_port), Some(local_port), None) => {
            Announced { client: SocketAddr::new(client, client_port), local: SocketAddr::new(local, local_port) }
        }
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(announced))
}

/// A decimal number without sign or leading zeros (section 2.1).
fn port(word: &str) -> Option<u16> {
    let is_canonical = word == "0" || word.starts_with(|first: char| matches!(first, '1'..='9'));
    word.parse().ok().filter(|_| is_canonical)
}

async fn version2(stream: &mut TcpStream) -> Result<Option<Announced>, ProxyError> {
    let [command, family, high, low] = {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        fixed
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_BLOCK {
        return Err(ProxyError::Malformed);
    }
    let mut block = vec![0; len];
    stream.read_exact(&mut block).await?;
    parse_block(command, family, &block)
}

fn parse_block(command: u8, family: u8, block: &[u8]) -> Result<Option<Announced>, ProxyError> {
    match (command, family) {
        (0x20, _) => Ok(None),
        // Over TCP; UNSPEC and local sockets have no address of use here.
        (0x21, 0x11) => addresses4(block).ok_or(ProxyError::Malformed).map(Some),
        (0x21, 0x21) => addresses6(block).ok_or(ProxyError::Malformed).map(Some),
        (0x21, 0x00 | 0x31) => Ok(None),
        _ => Err(ProxyError::Malformed),
    }
}

fn addresses4(block: &[u8]) -> Option<Announced> {
    let (client, rest) = block.split_first_chunk::<4>()?;
    let (local, rest) = rest.split_first_chunk::<4>()?;
    announced(Ipv4Addr::from(*client).into(), Ipv4Addr::from(*local).into(), rest)
}

fn addresses6(block: &[u8]) -> Option<Announced> {
    let (client, rest) = block.split_first_chunk::<16>()?;
    let (local, rest) = rest.split_first_chunk::<16>()?;
    announced(Ipv6Addr::from(*client).into(), Ipv6Addr::from(*local).into(), rest)
}

fn announced(client: IpAddr, local: IpAddr, ports: &[u8]) -> Option<Announced> {
    let (client_port, rest) = ports.split_first_chunk::<2>()?;
    let local_port = rest.first_chunk::<2>()?;
    Some(Announced {
        client: SocketAddr::new(client, u16::from_be_bytes(*client_port)),
        local: SocketAddr::new(local, u16::from_be_bytes(*local_port)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(client: &str, local: &str) -> Option<Announced> {
        Some(Announced { client: client.parse().expect("an address"), local: local.parse().expect("an address") })
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\r\n", both("192.0.2.1:4000", "198.51.100.2:80")),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", both("[2001:db8::1]:1", "[::1]:65535")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:: whatever\r\n", None),
        ] {
            assert_eq!(parse_line(line.as_bytes()).ok(), Some(expected), "{line}");
        }
    }

    #[test]
    fn malformed_lines() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4000\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4000 80 9\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4000 65536\r\n",
            "PROXY TCP4 ::1 ::1 4000 80\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 4000 80\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 4000 80\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.2 4000 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4000 80 \r\n",
        ] {
            assert!(parse_line(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn blocks_of_version_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0x0f, 0xa0, 0, 80];
        let with_tlv = [&v4[..], &[4, 0, 1, 9]].concat();
        assert_eq!(parse_block(0x21, 0x11, &with_tlv).ok(), Some(both("192.0.2.1:4000", "198.51.100.2:80")));
        let v6 = [&[0; 15][..], &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
        assert_eq!(parse_block(0x21, 0x21, &v6).ok(), Some(both("[::1]:1", "[::2]:2")));
        assert_eq!(parse_block(0x20, 0x11, &[]).ok(), Some(None));
        assert_eq!(parse_block(0x21, 0x00, &[]).ok(), Some(None));
        for (command, family, block) in [
            (0x21, 0x11, &v4[..11]),
            (0x21, 0x21, &v4[..]),
            (0x11, 0x11, &v4[..]),
            (0x22, 0x11, &v4[..]),
            (0x21, 0x12, &v4[..]),
        ] {
            assert!(parse_block(command, family, block).is_err(), "{command:#x} {family:#x}");
        }
    }
}
