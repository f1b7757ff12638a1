//! What a response may not keep, and what it varies by.
//!
//! **Invariant:** no value of the upstream's `Vary` is lost, and none is there twice.

use meshup_sdk::prelude::*;

/// What the answer to a preflight request depends on.
pub(crate) const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

const PREFIX: &str = "access-control-";

/// Removes what the upstream says about sharing: two opinions would be none to a browser.
pub(crate) fn remove_foreign(res: &mut Response) {
    let foreign: Vec<String> =
        res.headers().iter().filter(|(name, _)| is_ours(name)).map(|(name, _)| name.to_owned()).collect();
    for name in foreign {
        res.headers_mut().remove(&name);
    }
}

fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Adds `Origin` to what the response varies by, where it is not there yet.
pub(crate) fn vary_by_origin(res: &mut Response) {
    if !varies_by_origin(res.headers()) {
        res.headers_mut().append("vary", "Origin");
    }
}

/// `*` holds everything.
fn varies_by_origin(headers: Headers<'_>) -> bool {
    let mut items = headers.get_all("vary").flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    items.any(|item| item == b"*" || item.eq_ignore_ascii_case(b"origin"))
}
