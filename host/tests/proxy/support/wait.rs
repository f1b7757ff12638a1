//! Waiting for what has to happen.

use std::time::Duration;

/// How long anything may take; far more than it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The outcome of `work`, which has to end soon.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(what, poll).await;
}
