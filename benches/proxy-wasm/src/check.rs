//! Answers requests without the right key with 403.

use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

pub(crate) struct Check;

impl Context for Check {}

impl HttpContext for Check {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.get_http_request_header_bytes("x-api-key").as_deref() == Some(b"open-sesame") {
            return Action::Continue;
        }
        self.send_http_response(403, vec![], Some(b"access denied"));
        Action::Pause
    }
}
