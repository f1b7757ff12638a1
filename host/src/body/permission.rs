//! `Expect: 100-continue` towards an upstream (RFC 9110 section 10.1.1): a request body that waits to be wanted.
//!
//! The client gets its own `100 Continue` from the server when the body is first asked for, hence after the upstream's.
//!
//! **Invariant:** the wait ends, also if the upstream never says anything.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, header::EXPECT};
use tokio::time::Sleep;

use super::RequestBody;

/// How long an upstream may keep silent before it gets the body unasked.
const PATIENCE: Duration = Duration::from_secs(1);

/// The upstream's leave to send the body: given when it says so, or after some time.
#[derive(Debug, Default)]
pub(crate) struct Permission {
    /// Since the request is being sent.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Permission {
    /// Has `request` ask for leave, and its body wait for it.
    pub(crate) fn ask(request: &mut Request<RequestBody>) {
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        request.body_mut().wait_for(Self::default());
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE))).as_mut().poll(cx)
    }
}
