//! Cross-origin resource sharing: answers preflight requests and says who may read responses.
//!
//! It follows the Fetch standard (<https://fetch.spec.whatwg.org/#http-cors-protocol>). It refuses no other request: CORS
//! tells browsers what scripts may read, and does not keep anybody from sending.
//!
//! ```toml
//! [filters.cors]
//! module = "builtin:cors"
//! config = { origins = ["https://app.example", "https://*.app.example"], methods = ["GET", "PUT"], credentials = true }
//! ```
//!
//! `README.md` beside this crate describes every key.
//!
//! **Invariant:** the client sees an `Access-Control-` header only when this filter wrote it, and every response varies
//! by `Origin`.

mod config;
mod headers;
mod origin;
#[cfg(test)]
mod tests;

use meshup_sdk::prelude::*;

pub use crate::config::Config;

#[meshup_sdk::filter]
async fn cors(config: &Config, req: Request, next: Next) -> Response {
    let origin = allowed_origin(config, &req);
    if is_preflight(&req) {
        return preflight(config, &req, origin.as_deref());
    }
    let mut res = next.run(&req).await;
    headers::remove_foreign(&mut res);
    if let Some(origin) = origin {
        config.share(&mut res, &origin);
    }
    headers::vary_by_origin(&mut res);
    res
}

/// What `Access-Control-Allow-Origin` says to this request; `None` when its origin is not allowed or not one.
fn allowed_origin(config: &Config, req: &Request) -> Option<String> {
    let headers = req.headers();
    let mut values = headers.get_all("origin");
    let origin = str::from_utf8(values.next()?).ok()?;
    if values.next().is_some() {
        return None;
    }
    let answer = config.origins.answer_to(origin);
    if answer.is_none() {
        debug!("the origin {origin:?} is not allowed");
    }
    answer.map(str::to_owned)
}

/// An OPTIONS request that a browser sends by itself; any other is the application's.
fn is_preflight(req: &Request) -> bool {
    let headers = req.headers();
    req.method() == "OPTIONS" && headers.contains("origin") && headers.contains("access-control-request-method")
}

fn preflight(config: &Config, req: &Request, origin: Option<&str>) -> Response {
    let mut res = Response::new(204).with_header("vary", headers::PREFLIGHT_VARY);
    if let Some(origin) = origin {
        config.permit(&mut res, origin, wants_private_network(req));
    }
    res
}

fn wants_private_network(req: &Request) -> bool {
    req.headers().get("access-control-request-private-network") == Some("true")
}
