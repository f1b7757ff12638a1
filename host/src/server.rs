//! Where clients come in: sockets, accept loops, connections.
//!
//! **Invariant:** an accept error never ends an accept loop, and a connection's fault never leaves its task.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

mod aside;
mod chunk_line;
mod connection;
mod destination;
mod frames;
mod guard;
mod guarded;
mod heads;
mod link;
mod pace;
mod parser_answer;
mod preface;
mod proxy_protocol;
mod room;
mod session;
mod socket;
pub(crate) mod stall;
mod tls;
mod tunnel;

pub(crate) use connection::{ActiveExchange, Connection};
pub use session::{Peer, TlsSession};
pub(crate) use tls::{Material, Tls, Trust};
pub(crate) use tunnel::Tunnel;

use crate::{config, worker::Worker};
use room::Room;
use socket::{claim, join, overlaps};

/// The pause after the process ran out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// One configured address with a socket for every worker.
#[derive(Debug)]
pub(crate) struct BoundListener {
    /// As configured.
    pub address: SocketAddr,
    /// As bound: with the port that the system chose where the configuration says 0.
    pub local: SocketAddr,
    pub settings: Arc<config::Listener>,
    /// None when it listens in clear text.
    pub tls: Option<Arc<Tls>>,
    sockets: Arc<Vec<Mutex<Option<StdListener>>>>,
}

impl BoundListener {
    /// Binds a socket for each of `workers` workers. The address may overlap with `ours`, which this process listens
    /// on, but not with another process's.
    ///
    /// # Errors
    /// What the system says: address in use, permission denied, ...
    pub(crate) fn bind(
        settings: Arc<config::Listener>,
        tls: Option<Arc<Tls>>,
        workers: usize,
        ours: &[SocketAddr],
    ) -> io::Result<Self> {
        let address = settings.listen;
        let first = if ours.iter().any(|ours| overlaps(*ours, address)) { join(address) } else { claim(address) }?;
        let local = first.local_addr()?;
        let mut sockets = vec![Mutex::new(Some(first))];
        for _ in 1..workers {
            sockets.push(Mutex::new(Some(join(local)?)));
        }
        Ok(Self { address, local, settings, tls, sockets: Arc::new(sockets) })
    }

    /// The same sockets under new settings.
    pub(crate) fn with_settings(&self, settings: Arc<config::Listener>, tls: Option<Arc<Tls>>) -> Self {
        Self { address: self.address, local: self.local, settings, tls, sockets: self.sockets.clone() }
    }

    /// Whether it listens for `settings` too. Where the system chooses the port, only the name tells listeners apart.
    pub(crate) fn is_of(&self, settings: &config::Listener) -> bool {
        self.address == settings.listen && (self.address.port() != 0 || self.settings.name == settings.name)
    }

    /// Whether both have the same sockets.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.sockets, &other.sockets)
    }

    /// The socket of one worker; it is handed out once.
    pub(crate) fn socket(&self, worker: usize) -> Option<StdListener> {
        self.sockets.get(worker)?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A running accept loop.
#[derive(Debug)]
pub(crate) struct ListenerTask {
    listener: watch::Sender<Arc<BoundListener>>,
    stop: watch::Sender<bool>,
}

impl ListenerTask {
    /// New connections get these settings.
    pub(crate) fn update(&self, listener: Arc<BoundListener>) {
        self.listener.send_replace(listener);
    }

    /// Accepts what waits in the queue, then closes the socket; the listener's connections end after their exchanges.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Starts an accept loop on the current worker.
pub(crate) fn listen(
    worker: &Rc<Worker>,
    socket: StdListener,
    listener: Arc<BoundListener>,
) -> (ListenerTask, JoinHandle<()>) {
    let (listener, current) = watch::channel(listener);
    let (stop, stopped) = watch::channel(false);
    let acceptor = Acceptor {
        worker: worker.clone(),
        listener: current,
        stopped,
        closing: watch::channel(false).0,
        room: Rc::default(),
    };
    let handle = tokio::task::spawn_local(async move {
        match TcpListener::from_std(socket) {
            Ok(socket) => acceptor.run(socket).await,
            Err(error) => tracing::error!(%error, "cannot listen"),
        }
    });
    (ListenerTask { listener, stop }, handle)
}

struct Acceptor {
    worker: Rc<Worker>,
    listener: watch::Receiver<Arc<BoundListener>>,
    stopped: watch::Receiver<bool>,
    /// Tells the listener's connections to end after their exchanges.
    closing: watch::Sender<bool>,
    room: Rc<Room>,
}

impl Acceptor {
    async fn run(self, socket: TcpListener) {
        let mut drain = self.worker.drain.clone();
        let mut stopped = self.stopped.clone();
        let mut announced = false;
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => break,
                () = drain.announced(), if !announced => {
                    announced = true;
                    self.closing.send_replace(true);
                }
                accepted = self.accept(&socket) => self.accepted(accepted).await,
            }
        }
        self.closing.send_replace(true);
        self.accept_queue(socket).await;
    }

    /// The next connection, once there is room for it.
    async fn accept(&self, socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        self.room.wait(self.listener.clone(), self.worker.workers).await;
        socket.accept().await
    }

    async fn accepted(&self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok(accepted) => {
                let listener = self.listener.borrow().clone();
                connection::spawn(&self.worker, &listener, accepted, self.room.take(), self.closing.subscribe());
            }
            Err(error) if is_exhausted(&error) => {
                self.worker.metrics.accept_errors.increment(1);
                tracing::warn!(%error, "cannot accept connections for now");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            Err(error) => tracing::debug!(%error, "a connection was gone before it was accepted"),
        }
    }

    /// Accepts what the system completed before the socket closes, so that none of it is reset.
    async fn accept_queue(&self, socket: TcpListener) {
        for accepted in waiting(socket) {
            self.accepted(accepted).await;
        }
    }
}

/// What the system completed and nobody took yet. The system itself is asked: the runtime may not have heard of it.
fn waiting(socket: TcpListener) -> impl Iterator<Item = io::Result<(TcpStream, SocketAddr)>> {
    let socket = socket.into_std();
    std::iter::from_fn(move || match socket.as_ref().ok()?.accept() {
        Ok((stream, client)) => {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            Some(stream.map(|stream| (stream, client)))
        }
        Err(error) => (error.kind() == io::ErrorKind::ConnectionAborted).then_some(Err(error)),
    })
}

/// Descriptors or memory are used up: waiting helps, trying again at once does not.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOMEM | ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_the_runtime_has_not_heard_of_waits_too() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let _clients = [0; 3].map(|_| std::net::TcpStream::connect(address).unwrap());
        assert_eq!(waiting(socket).filter(Result::is_ok).count(), 3);
    }
}
