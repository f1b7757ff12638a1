//! The admin listener: health, readiness, metrics, state and reload over HTTP/1.1.
//!
//! It runs on the thread `meshup-control` and never takes time from traffic. It asks nobody who they are: its default
//! address is loopback, and what it tells hides secrets.
//!
//! **Invariant:** it answers until the last worker is done, and no client of it holds more than a bounded number of
//! connections, bytes and seconds.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{oneshot, watch},
};

mod answer;
mod endpoint;
mod server;
mod state;

use crate::{drain::Draining, reload::ReloadHandle, snapshot::Snapshot, worker::Reports};

/// A bound socket that nobody serves yet.
#[derive(Debug)]
pub(crate) struct AdminListener {
    socket: StdListener,
    local: SocketAddr,
}

impl AdminListener {
    /// Binds the address; nobody else can have it, not even with `SO_REUSEPORT`.
    ///
    /// # Errors
    /// What the system says: address in use, permission denied, ...
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = StdListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { local: socket.local_addr()?, socket })
    }
}

/// What the admin listener tells about, and what it can do.
#[derive(Debug)]
pub(crate) struct State {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub reports: Reports,
    pub drain: Draining,
    pub reload: ReloadHandle,
}

/// The running admin listener. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Admin {
    local: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub(crate) fn start(listener: AdminListener, state: State) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = {
            let _context = runtime.enter();
            TcpListener::from_std(listener.socket)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("meshup-control".into());
        let thread = thread.spawn(move || serve(&runtime, socket, state, stopped))?;
        Ok(Self { local: listener.local, stop: Some(stop), thread: Some(thread) })
    }

    /// The address, with the port that the system chose.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(runtime: &Runtime, socket: TcpListener, state: State, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        tokio::select! {
            _ = stopped => {}
            () = server::run(socket, Arc::new(state)) => {}
        }
    });
}
