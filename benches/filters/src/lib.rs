//! measured: a filter to be counted in nanoseconds, the counterpart of the two in `../proxy-wasm`.
//!
//! **Invariant:** one call for each event that the work needs, and nothing beside the work.

use meshup_sdk::prelude::*;

/// `config` of the filter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    work: Work,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Work {
    /// Reads three headers of the request, writes two, and writes one of the response.
    Headers,
    /// Only passes.
    Pass,
}

#[meshup_sdk::filter]
async fn measured(config: &Config, mut req: Request, next: Next) -> Response {
    if matches!(config.work, Work::Pass) {
        return next.pass(req);
    }
    let known = ["user-agent", "accept-language", "cookie"].map(|name| req.headers().contains(name));
    let browser = if known.contains(&false) { "no" } else { "yes" };
    let mut headers = req.headers_mut();
    headers.set("x-browser", browser);
    headers.set("x-zone", "eu-1");
    let mut res = next.run(&req).await;
    res.headers_mut().set("x-served-by", "meshup");
    res
}

#[cfg(test)]
mod tests {
    use meshup_sdk::testing::{self, Finished, json};

    use super::*;

    fn run(work: &str) -> Finished {
        let request = Request::get("/").with_header("user-agent", "a").with_header("accept-language", "en");
        let mut tester = testing::filter(measured).config(json!({ "work": work }));
        tester.run(request.with_header("cookie", "b"), |_| Response::new(200))
    }

    #[test]
    fn headers_are_written_both_ways() {
        let done = run("headers");
        assert_eq!((done.sent[0].header("x-browser"), done.sent[0].header("x-zone")), (Some("yes"), Some("eu-1")));
        assert_eq!(done.header("x-served-by"), Some("meshup"));
    }

    #[test]
    fn passing_changes_nothing() {
        let done = run("pass");
        assert_eq!((done.passed, done.sent[0].header("x-zone"), done.header("x-served-by")), (true, None, None));
    }
}
