//! What is behind a filter: the later filters, then the upstream.
//!
//! **Invariant:** each `run` that is awaited is one pass through everything behind the filter; `pass` is the last.
//!
//! ```
//! use meshup_sdk::{prelude::*, testing};
//!
//! async fn once_more(req: Request, next: Next) -> Response {
//!     match next.run(&req).timeout(Duration::from_millis(100)).await {
//!         Ok(res) => res,
//!         Err(_) => next.run(&req).await,
//!     }
//! }
//!
//! let done = testing::filter(once_more).run(Request::get("/"), |sent| match sent.attempt {
//!     1 => testing::Reply::from(Response::new(200)).after(Duration::from_secs(5)),
//!     _ => Response::new(204).into(),
//! });
//! assert_eq!((done.status(), done.sent.len()), (204, 2));
//! ```

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use meshup_abi::{ErrorKind, Event, Verdict, tag};

use crate::{context, operation::Operation, request::Request, response::Response, wire};

/// Everything behind the filter.
#[derive(Debug)]
pub struct Next(());

impl Next {
    #[inline]
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// Passes the request on and waits for the response. A second call is a retry: the host replays the body as far as
    /// it kept it, and otherwise answers with [`ErrorKind::ReplayLimit`].
    #[must_use = "nothing runs until it is awaited"]
    pub fn run<'a>(&self, req: &'a Request) -> Run<'a> {
        Run { req, deadline: None, operation: Operation::new(Event::Response) }
    }

    /// Passes the request on and is done: the filter does not see the response, and the host does not call it again.
    /// The value stands for the response to come: its headers can be changed ahead, which costs no second call, and it
    /// has to be returned.
    ///
    /// ```
    /// use meshup_sdk::{prelude::*, testing};
    ///
    /// async fn sign(req: Request, next: Next) -> Response {
    ///     let mut res = next.pass(req);
    ///     res.headers_mut().set("server", "meshup");
    ///     res
    /// }
    ///
    /// let done = testing::filter(sign).run(Request::get("/"), |_| Response::new(200).with_header("server", "origin/1.0"));
    /// assert_eq!((done.header("server"), done.passed), (Some("meshup"), true));
    /// ```
    ///
    /// # Panics
    /// After a run: then there is a response, and a filter that wants another runs the request again.
    #[must_use = "it has to be returned"]
    pub fn pass(self, req: Request) -> Response {
        assert!(context::latest_run() == 0, "`next.pass` cannot follow `next.run`: return `next.run(&req).await`");
        Response::passed(req)
    }
}

/// A run, to be awaited.
#[derive(Debug)]
#[must_use = "nothing runs until it is awaited"]
pub struct Run<'a> {
    req: &'a Request,
    deadline: Option<Duration>,
    operation: Operation,
}

impl<'a> Run<'a> {
    /// Gives the run a deadline of its own: until the head of the response.
    pub fn timeout(mut self, deadline: Duration) -> RunUntil<'a> {
        self.deadline = Some(deadline);
        RunUntil(self)
    }

    fn ask(&self) {
        context::count_run();
        context::ask(Verdict::Run, 0, |out| {
            self.req.put_for_host(out);
            if let Some(deadline) = self.deadline {
                wire::put_duration(out, tag::DEADLINE, deadline);
            }
        });
    }
}

impl Future for Run<'_> {
    type Output = Response;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Response> {
        let this = self.get_mut();
        if this.operation.begins() {
            this.ask();
        }
        this.operation.outcome().map(Response::received)
    }
}

/// A run with a deadline, to be awaited.
#[derive(Debug)]
#[must_use = "nothing runs until it is awaited"]
pub struct RunUntil<'a>(Run<'a>);

impl Future for RunUntil<'_> {
    type Output = Result<Response, TimedOut>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().0).poll(cx).map(|response| match response.error() {
            Some(ErrorKind::PerTryTimeout) => Err(TimedOut(response)),
            _ => Ok(response),
        })
    }
}

/// A run took longer than its deadline. As a response it is the host's 504 with `x-meshup-error: per-try-timeout`.
#[derive(Debug)]
pub struct TimedOut(pub(crate) Response);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response before the deadline")
    }
}

impl std::error::Error for TimedOut {}
