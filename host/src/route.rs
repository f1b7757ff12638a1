//! Which route a request takes: the first whose conditions all hold.

mod index;

use std::sync::Arc;

use http::{HeaderMap, Uri, header::HOST, request::Parts};

use self::index::Index;
use crate::config::{Config, HostMatch, RouteMatch};

/// So many routes are looked at one by one sooner than looked up.
const FEW: usize = 8;

/// The conditions of every route of a configuration, in its order.
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: Vec<RouteMatch>,
    /// Where there are many.
    index: Option<Index>,
}

impl RouteTable {
    pub(crate) fn new(config: &Config) -> Self {
        Self::of(config.routes.iter().map(|route| route.matches.clone()).collect())
    }

    fn of(routes: Vec<RouteMatch>) -> Self {
        let index = (routes.len() > FEW).then(|| Index::new(&routes));
        Self { routes, index }
    }

    /// The index of the first route that matches a request which came in on `listener`.
    pub(crate) fn find(&self, listener: &Arc<str>, head: &Parts) -> Option<usize> {
        let host = head.headers.get(HOST).map_or(&b""[..], |host| without_port(host.as_bytes()));
        let request = Request { listener, host, head };
        match &self.index {
            None => self.routes.iter().position(|conditions| request.meets(conditions)),
            Some(index) => {
                let meets = |position| self.routes.get(position).is_some_and(|conditions| request.meets(conditions));
                index.find(host, head.uri.path(), meets)
            }
        }
    }
}

struct Request<'a> {
    listener: &'a Arc<str>,
    host: &'a [u8],
    head: &'a Parts,
}

impl Request<'_> {
    fn meets(&self, conditions: &RouteMatch) -> bool {
        self.meets_target(conditions)
            && (conditions.methods.is_empty() || conditions.methods.contains(&self.head.method))
            && conditions.headers.iter().all(|(name, value)| has_header(&self.head.headers, name, value))
            && conditions.query.iter().all(|(name, value)| has_parameter(&self.head.uri, name, value))
    }

    fn meets_target(&self, conditions: &RouteMatch) -> bool {
        let path = self.head.uri.path();
        conditions.listener.as_ref().is_none_or(|name| name == self.listener)
            && (conditions.hosts.is_empty() || conditions.hosts.iter().any(|pattern| is_host(pattern, self.host)))
            && conditions.path.as_ref().is_none_or(|exact| path == exact)
            && conditions.path_prefix.as_ref().is_none_or(|prefix| is_below(path, prefix))
    }
}

/// `prefix` matches whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(whole_segments(prefix)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A prefix as it is compared: without the slash at its end.
fn whole_segments(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

fn is_host(pattern: &HostMatch, host: &[u8]) -> bool {
    match pattern {
        HostMatch::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
        HostMatch::Suffix(suffix) => {
            let start = host.len().checked_sub(suffix.len()).filter(|start| *start > 0);
            start.and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
        }
    }
}

fn without_port(authority: &[u8]) -> &[u8] {
    if authority.ends_with(b"]") {
        return authority;
    }
    let colon = authority.iter().rposition(|&byte| byte == b':').unwrap_or(authority.len());
    authority.get(..colon).unwrap_or(authority)
}

fn has_header(headers: &HeaderMap, name: &http::HeaderName, value: &str) -> bool {
    headers.get_all(name).iter().any(|header| header.as_bytes() == value.as_bytes())
}

fn has_parameter(uri: &Uri, name: &str, value: &str) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).any(|pair| pair == (name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(conditions: RouteMatch, method: &str, host: &str, target: &str) -> bool {
        let request = http::Request::builder().method(method).uri(target).header("host", host).header("x-canary", "1");
        let head = request.body(()).expect("a valid request").into_parts().0;
        RouteTable::of(vec![conditions]).find(&"http".into(), &head) == Some(0)
    }

    fn exact(host: &str) -> RouteMatch {
        RouteMatch { hosts: vec![HostMatch::Exact(host.into())], ..RouteMatch::default() }
    }

    fn suffix(suffix: &str) -> RouteMatch {
        RouteMatch { hosts: vec![HostMatch::Suffix(suffix.into())], ..RouteMatch::default() }
    }

    fn prefix(prefix: &str) -> RouteMatch {
        RouteMatch { path_prefix: Some(prefix.into()), ..RouteMatch::default() }
    }

    #[test]
    fn hosts() {
        for (conditions, host, expected) in [
            (exact("a.example"), "a.example", true),
            (exact("a.example"), "A.Example:8080", true),
            (exact("a.example"), "b.a.example", false),
            (exact("[::1]"), "[::1]:80", true),
            (exact("[::1]"), "[::1]", true),
            (suffix(".example"), "a.example", true),
            (suffix(".example"), "a.b.example:1", true),
            (suffix(".example"), "example", false),
            (suffix(".example"), ".example", false),
        ] {
            assert_eq!(find(conditions.clone(), "GET", host, "/"), expected, "{conditions:?} {host}");
        }
    }

    #[test]
    fn paths_match_whole_segments() {
        for (conditions, target, expected) in [
            (prefix("/v1"), "/v1", true),
            (prefix("/v1"), "/v1/x?y", true),
            (prefix("/v1"), "/v10", false),
            (prefix("/v1/"), "/v1", true),
            (prefix("/"), "/anything", true),
            (RouteMatch { path: Some("/a".into()), ..RouteMatch::default() }, "/a?q=1", true),
            (RouteMatch { path: Some("/a".into()), ..RouteMatch::default() }, "/a/", false),
        ] {
            assert_eq!(find(conditions.clone(), "GET", "h", target), expected, "{conditions:?} {target}");
        }
    }

    #[test]
    fn methods_headers_queries_and_listeners() {
        let methods = RouteMatch { methods: vec![http::Method::GET], ..RouteMatch::default() };
        assert!(find(methods.clone(), "GET", "h", "/"));
        assert!(!find(methods, "POST", "h", "/"));
        let header = |value: &str| RouteMatch {
            headers: vec![(http::HeaderName::from_static("x-canary"), value.into())],
            ..RouteMatch::default()
        };
        assert!(find(header("1"), "GET", "h", "/"));
        assert!(!find(header("2"), "GET", "h", "/"));
        let query = RouteMatch { query: vec![("v".into(), "2".into())], ..RouteMatch::default() };
        assert!(find(query.clone(), "GET", "h", "/?a&v=2"));
        assert!(!find(query, "GET", "h", "/?v=21"));
        let listener = RouteMatch { listener: Some("other".into()), ..RouteMatch::default() };
        assert!(!find(listener, "GET", "h", "/"));
    }

    /// All combinations of some conditions, in an order without sense; every request has several candidates.
    fn many() -> Vec<RouteMatch> {
        let hosts = [vec![], exact("a.example").hosts, suffix(".example").hosts, exact("[::1]").hosts];
        let paths = [
            RouteMatch::default(),
            prefix("/"),
            prefix("/v1"),
            prefix("/v1/x"),
            RouteMatch { path: Some("/v1/x".into()), ..RouteMatch::default() },
        ];
        let methods = [vec![], vec![http::Method::GET], vec![http::Method::POST]];
        let mut routes = Vec::new();
        for (path, method) in paths.iter().flat_map(|path| methods.iter().map(move |method| (path, method))) {
            let of = |host: &Vec<_>| RouteMatch { hosts: host.clone(), methods: method.clone(), ..path.clone() };
            routes.extend(hosts.iter().map(of));
        }
        routes
    }

    #[test]
    fn many_routes_are_found_as_if_each_were_looked_at() {
        let routes = many();
        for start in 0..routes.len() {
            // 7 and the number of routes have no common divisor: every route once, each time another one first.
            let order: Vec<_> = (0..routes.len()).map(|n| routes[(start + n * 7) % routes.len()].clone()).collect();
            for (method, host) in [("GET", "A.example:80"), ("POST", "b.a.example"), ("PUT", "[::1]"), ("GET", "")] {
                for target in ["/", "/v1", "/v10", "/v1/x", "/v1/x/y?z", "/other"] {
                    let request = http::Request::builder().method(method).uri(target).header("host", host);
                    let head = request.body(()).expect("a valid request").into_parts().0;
                    let each = RouteTable { routes: order.clone(), index: None };
                    let looked_up = RouteTable { routes: order.clone(), index: Some(Index::new(&order)) };
                    let listener = "http".into();
                    let expected = each.find(&listener, &head);
                    assert_eq!(looked_up.find(&listener, &head), expected, "{method} {host} {target} from {start}");
                }
            }
        }
    }

    #[test]
    fn routes_behind_one_that_matches_everything_are_not_found() {
        let mut routes = many();
        routes.insert(0, RouteMatch::default());
        let head = http::Request::get("/v1/x").header("host", "a.example").body(()).expect("valid").into_parts().0;
        assert_eq!(RouteTable::of(routes).find(&"http".into(), &head), Some(0));
    }
}
