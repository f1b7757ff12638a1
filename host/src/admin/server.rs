//! Connections to the admin listener.

use std::{pin::pin, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{State, endpoint};

/// More clients wait in the system's queue.
const MAX_CONNECTIONS: usize = 128;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;
/// From the end of one exchange, or the accept, to the next request's whole head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// After that long a connection ends with its exchange ...
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// ... which has this long left: enough for a reload that compiles.
const LAST_EXCHANGE: Duration = Duration::from_secs(60);
/// The pause after an accept that failed: mostly no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves for ever.
pub(super) async fn run(socket: TcpListener, state: Arc<State>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, state.clone(), permit))),
            Err(error) => {
                tracing::debug!(%error, "cannot accept an admin connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>, _permit: OwnedSemaphorePermit) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let state = state.clone();
        async move {
            Ok::<_, std::convert::Infallible>(endpoint::answer(&state, request.method(), request.uri().path()).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    if timeout(CONNECTION_LIFETIME, served.as_mut()).await.is_err() {
        served.as_mut().graceful_shutdown();
        let _ = timeout(LAST_EXCHANGE, served).await;
    }
}
