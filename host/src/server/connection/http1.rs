//! An HTTP/1 connection: requests, rests between them, and what may come behind: a tunnel, or what a client still sends.
//!
//! While a connection rests it has no parser, because of the parser's buffers: those of one connection are 16 KiB.
//!
//! **Invariant:** a connection rests only where its parser stands between two messages and has nothing left to write.

use std::{
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use hyper::{server::conn, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
};

use super::{
    ActiveExchange, Connection,
    fate::{Ended, Fate, Fates, drive},
};
use crate::{
    server::{guarded::Guarded, parser_answer::Answering},
    transport::Transport,
};

/// For how long and how much is read of a request that nobody wants any more, after its answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 1024 * 1024;

pub(super) async fn http1(connection: Rc<Connection>, mut io: Guarded<Transport>, closing: watch::Receiver<bool>) {
    let limits = &connection.listener.limits;
    let timer = pin!(Fates::timer(&connection));
    let mut fates = Fates::new(&connection, closing, timer);
    loop {
        let service = service_fn(|request| connection.clone().respond(request, ActiveExchange::new(&connection)));
        let parser = conn::http1::Builder::new()
            .max_headers(limits.max_headers)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.http1_buffer.max(limits.max_header_bytes))
            .serve_connection(TokioIo::new(Answering::new(io, connection.clone())), service);
        // Boxed, so that it takes no room while the connection rests.
        let mut served = Box::new(parser);
        let ended = drive(&mut fates, Pin::new(&mut *served), |connection, served| {
            if connection.closing.replace(true) {
                served.graceful_shutdown();
            }
        });
        let ended = ended.await;
        let ends_blank;
        (io, ends_blank) = taken_apart(served.into_parts());
        match ended {
            Ended::Cut => return,
            Ended::ByItself => return behind(&connection, io).await,
            Ended::Rests if ends_blank && rest(&mut fates, &mut io).await => {}
            Ended::Rests => return,
        }
    }
}

/// The byte stream, and whether the parser left nothing of it. Its buffer goes here: it must not outlive the parser.
fn taken_apart<S>(parts: conn::http1::Parts<TokioIo<Answering<Transport>>, S>) -> (Guarded<Transport>, bool) {
    let ends_blank = is_blank(&parts.read_buf);
    (parts.io.into_inner().into_inner(), ends_blank)
}

/// Whether the parser leaves nothing but empty lines, which mean nothing before a request (RFC 9112 section 2.2). Anything
/// else would be a head under way.
fn is_blank(unparsed: &[u8]) -> bool {
    unparsed.iter().all(|byte| b"\r\n".contains(byte))
}

/// Waits until the client sends something; false when it is time to end instead, which the client is told.
async fn rest(fates: &mut Fates<'_>, io: &mut Guarded<Transport>) -> bool {
    fates.connection().worker.note_freed();
    loop {
        let fate = tokio::select! {
            biased;
            () = io.readable() => {
                fates.wake();
                return true;
            }
            fate = fates.next() => fate,
        };
        if fate == Fate::End || fates.connection().closing.replace(true) {
            let _ = tokio::time::timeout(LINGER, io.shutdown()).await;
            return false;
        }
    }
}

/// What follows the last response.
async fn behind(connection: &Connection, io: Guarded<Transport>) {
    if let Some((tunnel, active)) = connection.tunnel.take() {
        let (stream, early) = io.into_parts();
        Box::pin(tunnel.run(stream, early, active)).await;
    } else if io.has_unread() {
        Box::pin(linger(io.into_parts().0)).await;
    }
}

/// Reads on for a while behind the last response: closing at once would reset the connection, and the client could
/// lose the response (RFC 9112 section 9.6).
async fn linger(mut stream: Transport) {
    let read = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, read).await;
}
