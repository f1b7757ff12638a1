//! Telling the service manager, where there is one, how far this process is: the protocol of sd_notify(3).
//!
//! **Invariant:** whatever becomes of a notification, the proxy goes on, and does not wait.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use rustix::time::{ClockId, clock_gettime};

/// The service manager that started this process, if it wants to be told.
#[derive(Debug, Clone)]
pub(super) struct ServiceManager(Option<SocketAddr>);

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET` names.
    pub(super) fn from_environment() -> Self {
        let named = env::var_os("NOTIFY_SOCKET");
        let address = named.as_deref().and_then(|name| {
            address(name).inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET names no socket")).ok()
        });
        Self(address)
    }

    /// The listeners are open, or a reload is over.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins. The time lets the manager tell this one from an earlier one.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
    }

    /// The drain begins.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    fn tell(&self, message: &str) {
        let Some(address) = &self.0 else { return };
        if let Err(error) = send(address, message) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A path, or `@` and a name in the abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

fn send(address: &SocketAddr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), address).map(drop)
}
