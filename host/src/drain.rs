//! The end of the process, told to everyone once: what is going on may finish, nothing new begins.
//!
//! Two steps: the drain begins (readiness fails, responses say `Connection: close`), and after the delay the listeners
//! close. What is left at the deadline is cut off.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How far the drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Readiness fails; connections are still accepted.
    Announced,
    /// Listeners are closed; what runs ends by the deadline.
    Closing {
        deadline: Instant,
    },
}

/// Starts the drain.
#[derive(Debug)]
pub(crate) struct Drain(watch::Sender<Phase>);

/// Learns of the drain.
#[derive(Debug, Clone)]
pub(crate) struct Draining(watch::Receiver<Phase>);

impl Drain {
    pub(crate) fn new() -> (Self, Draining) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Self(sender), Draining(receiver))
    }

    /// Announces the drain, waits for `delay`, then has the listeners close; what runs may go on until `timeout` after
    /// the announcement.
    pub(crate) async fn start(&self, delay: Duration, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.0.send_replace(Phase::Announced);
        tokio::time::sleep(delay).await;
        self.0.send_replace(Phase::Closing { deadline });
    }
}

impl Draining {
    /// Whether the drain was announced.
    pub(crate) fn is_announced(&self) -> bool {
        *self.0.borrow() != Phase::Serving
    }

    /// When what is left is cut off; known once the listeners close.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Phase::Closing { deadline } => Some(deadline),
            Phase::Serving | Phase::Announced => None,
        }
    }

    /// Waits until the listeners are to close, or the process has no one left who could say so.
    pub(crate) async fn listeners_close(&mut self) {
        let _ = self.0.wait_for(|phase| matches!(phase, Phase::Closing { .. })).await;
    }

    /// Waits until the drain is announced.
    pub(crate) async fn announced(&mut self) {
        let _ = self.0.wait_for(|phase| *phase != Phase::Serving).await;
    }
}
