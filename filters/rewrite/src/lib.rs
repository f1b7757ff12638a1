//! The bundled filter `rewrite`: changes a request's path, host, headers and upstream, the response's headers, or
//! answers with a redirect.
//!
//! It does not match: which requests it sees is for the routes to say, and a route with other rules has a rewrite
//! filter of its own. It never touches a body or a query. `README.md` beside this crate describes every key.
//!
//! All that can be wrong in its configuration is refused when it is configured; an exchange only copies what is ready.
//! It passes a request on and is done, the changes to the response's headers told ahead: one call into the guest.
//!
//! **Invariant:** what it sets is valid, so the host never has to refuse a change.

mod headers;
mod path;
mod redirect;
mod syntax;
#[cfg(test)]
mod tests;
mod upstream;

use headers::HeaderChanges;
use meshup_sdk::prelude::*;
use path::{PathRegex, PathRewrite, Prefix};
use redirect::Redirect;
use syntax::{Authority, Path};
use upstream::UpstreamByHeader;

/// The longest request target that the host sends on.
const MAX_TARGET_BYTES: usize = 65_534;

#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
struct Config {
    path: PathRewrite,
    host: Option<Authority>,
    upstream: Option<UpstreamByHeader>,
    request_headers: HeaderChanges,
    response_headers: HeaderChanges,
    redirect: Option<Redirect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    strip_prefix: Option<Path>,
    path_prefix: Option<Path>,
    path_regex: Option<PathRegex>,
    host: Option<Authority>,
    upstream_by_header: Option<UpstreamByHeader>,
    #[serde(default)]
    request_headers: HeaderChanges,
    #[serde(default)]
    response_headers: HeaderChanges,
    redirect: Option<Redirect>,
}

impl TryFrom<RawConfig> for Config {
    type Error = &'static str;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        let path = match (Prefix::new(raw.strip_prefix, raw.path_prefix), raw.path_regex) {
            (Some(_), Some(_)) => return Err("path_regex: not together with strip_prefix or path_prefix"),
            (Some(prefix), None) => PathRewrite::Prefix(prefix),
            (None, Some(regex)) => PathRewrite::Regex(regex),
            (None, None) => PathRewrite::None,
        };
        if raw.redirect.as_ref().is_some_and(Redirect::goes_nowhere) && matches!(path, PathRewrite::None) {
            return Err("redirect: it changes nothing; give a scheme, host, port or path, or rewrite the path");
        }
        Ok(Self {
            path,
            host: raw.host,
            upstream: raw.upstream_by_header,
            request_headers: raw.request_headers,
            response_headers: raw.response_headers,
            redirect: raw.redirect,
        })
    }
}

impl Config {
    /// The answer, when the request is to be sent elsewhere; `target` is its rewritten path and query.
    fn redirected(&self, req: &Request, target: Option<&str>) -> Option<Response> {
        let redirect = self.redirect.as_ref()?;
        if redirect.host(req).is_empty() {
            return Some((400, "a redirect needs a host").into_response());
        }
        let location = redirect.location(req, target.unwrap_or(req.path_and_query()))?;
        let mut res = Response::new(redirect.status()).with_header("location", location);
        self.response_headers.apply(&mut res.headers_mut());
        Some(res)
    }

    /// Everything but the path. The upstream is chosen by the client's headers, before they change.
    fn change(&self, req: &mut Request) {
        if let Some(name) = self.upstream.as_ref().and_then(|upstream| upstream.choose(req.headers())) {
            req.set_upstream(name);
        }
        if let Some(host) = &self.host {
            req.set_authority(host);
        }
        self.request_headers.apply(&mut req.headers_mut());
    }
}

#[meshup_sdk::filter]
async fn rewrite(config: &Config, mut req: Request, next: Next) -> Response {
    let target = config.path.rewritten(&req);
    if target.as_ref().is_some_and(|target| target.len() > MAX_TARGET_BYTES) {
        return (414, "the rewritten path is too long").into_response();
    }
    if let Some(res) = config.redirected(&req, target.as_deref()) {
        return res;
    }
    if let Some(target) = target {
        req.set_path(&target);
    }
    config.change(&mut req);
    let mut res = next.pass(req);
    config.response_headers.apply(&mut res.headers_mut());
    res
}
