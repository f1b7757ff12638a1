//! Reads three headers of the request, writes two, and writes one of the response.

use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

pub(crate) struct Headers;

impl Context for Headers {}

impl HttpContext for Headers {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let read = |name| self.get_http_request_header_bytes(name).is_some();
        let known = [read("user-agent"), read("accept-language"), read("cookie")];
        let browser = if known.contains(&false) { "no" } else { "yes" };
        self.set_http_request_header("x-browser", Some(browser));
        self.set_http_request_header("x-zone", Some("eu-1"));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-served-by", Some("envoy"));
        Action::Continue
    }
}
