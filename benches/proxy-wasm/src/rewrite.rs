//! Changes the path's prefix, two headers of the request and one of the response.

use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

pub(crate) struct Rewrite;

impl Context for Rewrite {}

impl HttpContext for Rewrite {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        if path.starts_with("/v1/") {
            self.set_http_request_header(":path", Some(&format!("/api{path}")));
        }
        self.set_http_request_header("x-zone", Some("eu-1"));
        self.remove_http_request_header("upgrade-insecure-requests");
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-served-by", Some("envoy"));
        Action::Continue
    }
}
