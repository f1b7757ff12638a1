//! `Expect: 100-continue` towards an upstream (RFC 9110 section 10.1.1): a request body that waits to be wanted.
//!
//! The client gets its own `100 Continue` from the server when the body is first asked for, hence after the upstream's.
//!
//! **Invariant:** the wait ends, also if the upstream never says anything.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, StatusCode, header::EXPECT};
use tokio::sync::Notify;

use super::RequestBody;

/// How long an upstream may keep silent before it gets the body unasked.
const PATIENCE: Duration = Duration::from_secs(1);

/// The upstream's leave to send the body.
pub(crate) struct Permission(Pin<Box<dyn Future<Output = ()>>>);

impl Permission {
    /// Has `request` ask for leave, and its body wait for it.
    pub(crate) fn ask(request: &mut Request<RequestBody>) {
        let wanted = Arc::new(Notify::new());
        let heard = wanted.clone();
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                wanted.notify_one();
            }
        });
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        request.body_mut().wait_for(Self(Box::pin(async move {
            let _ = tokio::time::timeout(PATIENCE, heard.notified()).await;
        })));
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permission")
    }
}
