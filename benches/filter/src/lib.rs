//! A filter that gives one verdict, the one that its configuration names: what each of them costs. The counterpart of its
//! first two for Envoy are in `../proxy-wasm`.
//!
//! It does nothing beside: where a bundled filter gives the same verdict, that one is measured too, with its work.
//!
//! **Invariant:** every exchange takes the same path through the guest.

use meshup_sdk::prelude::*;

/// What to do with every exchange.
#[derive(Debug, Deserialize)]
pub struct Config {
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// Passes, nothing changed.
    Pass,
    /// Reads three headers, sets two, and one of the response ahead.
    Headers,
    /// Passes and wants to be told the end.
    End,
    Respond,
    /// Runs the rest, sets a header of its response and delivers it.
    RunDeliver,
    /// Runs the rest until its status is below 500.
    Again,
    /// Reads the request's body.
    Body,
    /// Asks an upstream.
    Fetch,
    Sleep,
}

const BODY_LIMIT: usize = 64 * 1024;

#[meshup_sdk::filter]
async fn bench(config: &Config, mut req: Request, next: Next) -> Response {
    match config.verdict {
        Verdict::Pass => next.pass(req),
        Verdict::Headers => headers(req, next),
        Verdict::End => {
            req.on_end(ended);
            next.pass(req)
        }
        Verdict::Respond => Response::new(403).with_header("x-own", "1").with_body("no"),
        Verdict::RunDeliver => {
            let mut res = next.run(&req).await;
            res.headers_mut().set("x-served-by", "meshup");
            res
        }
        Verdict::Again => again(&req, next).await,
        Verdict::Body => {
            let read = req.body(BODY_LIMIT).await.is_ok();
            if read { next.pass(req) } else { Response::new(400) }
        }
        Verdict::Fetch => {
            let allowed = fetch("authz", Request::get("/check")).await.is_ok_and(|res| res.status() < 300);
            if allowed { next.pass(req) } else { Response::new(403) }
        }
        Verdict::Sleep => {
            sleep(Duration::from_millis(1)).await;
            next.pass(req)
        }
    }
}

fn headers(mut req: Request, next: Next) -> Response {
    let known = ["user-agent", "accept-language", "cookie"].map(|name| req.headers().contains(name));
    let browser = if known.contains(&false) { "no" } else { "yes" };
    let mut headers = req.headers_mut();
    headers.set("x-browser", browser);
    headers.set("x-zone", "eu-1");
    let mut res = next.pass(req);
    res.headers_mut().set("x-served-by", "meshup");
    res
}

async fn again(req: &Request, next: Next) -> Response {
    loop {
        let res = next.run(req).await;
        if res.status() < 500 {
            return res;
        }
    }
}

fn ended(summary: &Summary) {
    std::hint::black_box(summary.status);
}
