//! Finds a route among many without looking at each.
//!
//! Every route lies under the hosts and the path it asks for, or under "any". A request looks under its own host and its
//! domains, and there under its own path and the whole segments it begins with.
//!
//! **Invariant:** it finds what looking at all routes in their order would find.

use rustc_hash::FxHashMap;

use super::whole_segments;
use crate::config::{HostMatch, RouteMatch};

/// The longest host that a configuration can have: a domain name.
const HOST_BYTES: usize = 253;

/// Positions of routes, by host and path.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: FxHashMap<Box<str>, Paths>,
    /// By the domain, with the dot before it.
    suffixes: FxHashMap<Box<str>, Paths>,
    any: Paths,
}

/// Positions of routes of one host, by path; each list ascends.
#[derive(Debug, Default)]
struct Paths {
    exact: FxHashMap<Box<str>, Vec<usize>>,
    /// Without the slash at the end.
    prefixes: FxHashMap<Box<str>, Vec<usize>>,
    /// How long the prefixes are, each length once.
    lengths: Vec<usize>,
    any: Vec<usize>,
}

impl Index {
    pub(super) fn new(routes: &[RouteMatch]) -> Self {
        let mut index = Self::default();
        for (position, route) in routes.iter().enumerate() {
            if route.hosts.is_empty() {
                index.any.insert(route, position);
            }
            for host in &route.hosts {
                index.host(host).insert(route, position);
            }
        }
        index
    }

    fn host(&mut self, host: &HostMatch) -> &mut Paths {
        match host {
            HostMatch::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostMatch::Suffix(domain) => self.suffixes.entry(domain.as_str().into()).or_default(),
        }
    }

    /// The first route for which `meets` holds, of those that `host`, without port, and `path` allow.
    pub(super) fn find(&self, host: &[u8], path: &str, meets: impl Fn(usize) -> bool) -> Option<usize> {
        let mut found = self.any.first(path, None, &meets);
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return found;
        }
        let mut buffer = [0; HOST_BYTES];
        let Some(host) = lower_case(host, &mut buffer) else { return found };
        if let Some(paths) = self.exact.get(host) {
            found = paths.first(path, found, &meets);
        }
        let domains = host.match_indices('.').filter_map(|(dot, _)| host.get(dot..).filter(|_| dot > 0));
        for paths in domains.filter_map(|domain| self.suffixes.get(domain)) {
            found = paths.first(path, found, &meets);
        }
        found
    }
}

/// `None` if it is longer than any that is configured, or no text.
fn lower_case<'a>(host: &[u8], buffer: &'a mut [u8; HOST_BYTES]) -> Option<&'a str> {
    let buffer = buffer.get_mut(..host.len())?;
    buffer.copy_from_slice(host);
    buffer.make_ascii_lowercase();
    std::str::from_utf8(buffer).ok()
}

impl Paths {
    fn insert(&mut self, route: &RouteMatch, position: usize) {
        let list = match (&route.path, &route.path_prefix) {
            (Some(path), _) => self.exact.entry(path.as_str().into()).or_default(),
            (None, Some(prefix)) => self.prefix(whole_segments(prefix)),
            (None, None) => &mut self.any,
        };
        // A route that lists a host twice is met twice.
        if list.last() != Some(&position) {
            list.push(position);
        }
    }

    fn prefix(&mut self, prefix: &str) -> &mut Vec<usize> {
        if !self.lengths.contains(&prefix.len()) {
            self.lengths.push(prefix.len());
        }
        self.prefixes.entry(prefix.into()).or_default()
    }

    /// The first that meets, if it is before `found`; otherwise `found`.
    fn first(&self, path: &str, found: Option<usize>, meets: impl Fn(usize) -> bool) -> Option<usize> {
        let is_boundary = |length: usize| matches!(path.as_bytes().get(length), None | Some(b'/'));
        let prefixes =
            self.lengths.iter().filter(|length| is_boundary(**length)).filter_map(|length| path.get(..*length));
        let prefixes = prefixes.filter_map(|prefix| self.prefixes.get(prefix));
        let lists = self.exact.get(path).into_iter().chain(prefixes).chain([&self.any]);
        lists.fold(found, |found, list| {
            let mut earlier = list.iter().copied().take_while(|position| found.is_none_or(|found| *position < found));
            earlier.find(|position| meets(*position)).or(found)
        })
    }
}
