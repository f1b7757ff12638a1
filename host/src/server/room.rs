//! How many connections a worker's listener has room for.
//!
//! At the limit no more are accepted; they wait in the system's queue until one ends. That costs nothing while it lasts, and
//! a client that waits is served where one that is turned away would come again at once.
//!
//! **Invariant:** a connection takes up its place until its task is gone.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, OnceLock},
};

use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, watch};

use super::BoundListener;
use crate::{
    config::Listener,
    observe::{self, Refusal},
};

/// A listener's room on one worker.
#[derive(Debug, Default)]
pub(super) struct Room {
    open: Cell<usize>,
    freed: Notify,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place(Rc<Room>);

impl Room {
    /// Takes a place, also beyond the limit.
    pub(super) fn take(self: &Rc<Self>) -> Place {
        self.open.set(self.open.get() + 1);
        Place(self.clone())
    }

    /// Waits until there is room for another connection. The limit may change meanwhile.
    pub(super) async fn wait(&self, mut listener: watch::Receiver<Arc<BoundListener>>, workers: usize) {
        let is_full = |listener: &BoundListener| self.open.get() >= share(&listener.settings, workers, descriptors());
        if !is_full(&listener.borrow_and_update()) {
            return;
        }
        observe::count_refusal(Refusal::MaxConnections);
        let name = listener.borrow().settings.name.clone();
        let reason = Refusal::MaxConnections.as_str();
        tracing::debug!(
            listener = &*name,
            reason,
            open = self.open.get(),
            "no more connections are accepted until one ends"
        );
        loop {
            tokio::select! {
                () = self.freed.notified() => {}
                changed = listener.changed() => if changed.is_err() { return },
            }
            if !is_full(&listener.borrow_and_update()) {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.freed.notify_one();
    }
}

/// One worker's part of `max_connections`; half of the descriptors are left for upstreams and the rest.
fn share(settings: &Listener, workers: usize, descriptors: usize) -> usize {
    settings.limits.max_connections.min(descriptors / 2).div_ceil(workers.max(1)).max(1)
}

/// How many descriptors the process may have.
fn descriptors() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    let limit = || getrlimit(Resource::Nofile).current.and_then(|limit| limit.try_into().ok()).unwrap_or(usize::MAX);
    *LIMIT.get_or_init(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ForwardedHeaders, ListenerLimits};

    #[test]
    fn workers_share_what_the_configuration_and_the_system_allow() {
        let limits = ListenerLimits { max_connections: 1000, ..ListenerLimits::default() };
        let (config, _) = crate::config::parse(
            "[[listeners]]\nname='a'\nlisten='127.0.0.1:0'\nlimits.max_connections=1000",
            std::path::Path::new("a.toml"),
        )
        .unwrap();
        let listener = &config.listeners[0];
        assert_eq!((listener.limits.clone(), listener.forwarded_headers), (limits, ForwardedHeaders::Replace));
        assert_eq!(share(listener, 3, usize::MAX), 334);
        assert_eq!(share(listener, 4, 1024), 128);
        assert_eq!(share(listener, 4, 0), 1);
    }
}
