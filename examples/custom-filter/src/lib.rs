//! quota: lets each client make so many requests in a span of time, and tells it how many are left.
//!
//! Clients are told apart by a header or by their address. The count is shared by all workers of the proxy.

use meshup_sdk::prelude::*;

/// `config` of the filter in meshup's configuration. A key that is not here is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Requests that a client may make.
    requests: i64,
    /// In this time; it begins with a client's first request.
    #[serde(with = "duration")]
    per: Duration,
    /// The header that names the client; without it, the client's address does.
    #[serde(default)]
    client_header: Option<String>,
}

#[meshup_sdk::filter]
async fn quota(config: &Config, req: Request, next: Next) -> Response {
    // A store that fails must not stop the traffic: the request counts as the first one.
    let made = state::add(&client(config, &req), 1, Some(config.per)).unwrap_or(1);
    if made > config.requests {
        return (429, "too many requests\n").into_response();
    }
    let mut res = next.run(&req).await;
    res.headers_mut().set("x-quota-remaining", (config.requests - made).to_string());
    res
}

fn client(config: &Config, req: &Request) -> String {
    let named = config.client_header.as_ref().and_then(|header| req.headers().get(header));
    named.map(Into::into).or_else(exchange::client_address).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use meshup_sdk::testing::{self, Tester, json};

    use super::*;

    fn tester() -> Tester {
        testing::filter(quota).config(json!({ "requests": 2, "per": "1m", "client_header": "x-client" }))
    }

    fn status(tester: &mut Tester, client: &str) -> u16 {
        tester.run(Request::get("/").with_header("x-client", client), |_| Response::new(200)).status()
    }

    #[test]
    fn requests_over_the_quota_are_refused() {
        let mut tester = tester();
        assert_eq!([(); 3].map(|()| status(&mut tester, "alice")), [200, 200, 429]);
        assert_eq!(status(&mut tester, "bob"), 200);
    }

    #[test]
    fn the_quota_comes_back() {
        let mut tester = tester();
        assert_eq!([(); 3].map(|()| status(&mut tester, "alice")), [200, 200, 429]);
        tester.advance(Duration::from_secs(61));
        assert_eq!(status(&mut tester, "alice"), 200);
    }

    #[test]
    fn a_client_learns_what_is_left() {
        let done = tester().run(Request::get("/"), |_| Response::new(200));
        assert_eq!(done.header("x-quota-remaining"), Some("1"));
    }

    #[test]
    fn a_missing_key_is_named() {
        let mut tester = testing::filter(quota).config(json!({ "requests": 2 }));
        assert!(tester.configure().unwrap_err().contains("per"));
    }
}
