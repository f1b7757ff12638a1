//! A connection to a client or an endpoint: TCP, or TLS over it.
//!
//! One type for both, so that what speaks HTTP over it exists once.
//!
//! **Invariant:** a clear connection pays nothing for TLS but a branch: the TLS state is behind a pointer.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use crate::cork::Outbox;

/// Up to so many bytes, slices are copied and sent as one: `send` spares a good part of what `writev` costs the kernel.
/// A head with a small body is within it.
const JOINED: usize = 4096;

/// A byte stream to a peer.
#[derive(Debug)]
pub(crate) enum Transport {
    Clear(TcpStream),
    Tls(Box<TlsStream<Counted>>),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Clear(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl Transport {
    /// Ready when the socket has something to read, or has failed.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let socket = match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => &stream.get_ref().0.socket,
        };
        socket.poll_read_ready(cx).map(|_readable_or_failed| ())
    }

    /// Tells the peer of a TLS session that nothing follows, as far as it takes it at once.
    pub(crate) fn say_goodbye(&mut self) {
        if let Self::Tls(stream) = self {
            let _ = Pin::new(&mut **stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Whether the peer has said nothing so far, not even that it closes. What TLS exchanges on its own account is read.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        match self {
            Self::Clear(stream) => {
                stream.try_read(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => {
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(&mut **stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }
}

impl Outbox for Transport {
    #[inline]
    fn sent(&self) -> u64 {
        match self {
            Self::Clear(_) => 0,
            Self::Tls(stream) => stream.get_ref().0.sent,
        }
    }
}

fn poll_send(stream: Pin<&mut TcpStream>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
    match slices {
        [slice] => stream.poll_write(cx, slice),
        slices if slices.iter().map(|slice| slice.len()).sum::<usize>() <= JOINED => {
            let mut block = [MaybeUninit::uninit(); JOINED];
            let mut joined = ReadBuf::uninit(&mut block);
            slices.iter().for_each(|slice| joined.put_slice(slice));
            stream.poll_write(cx, joined.filled())
        }
        slices => stream.poll_write_vectored(cx, slices),
    }
}

// A clear connection is to pay nothing.
const _: () = assert!(size_of::<Transport>() <= size_of::<TcpStream>() + size_of::<usize>());

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => poll_send(Pin::new(stream), cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// A socket below TLS that counts what the system takes: a TLS session takes what it is given before it can be sent.
#[derive(Debug)]
pub(crate) struct Counted {
    socket: TcpStream,
    sent: u64,
}

impl Counted {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, sent: 0 }
    }

    fn count(&mut self, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = sent {
            self.sent += bytes as u64;
        }
        sent
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.count(sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.count(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
