//! Another path for a request: a prefix in place of a prefix, or a regular expression.
//!
//! The query is never read; it stays as it is.
//!
//! **Invariant:** a rewritten path begins with a slash.

use meshup_sdk::prelude::*;
use regex_lite::{Captures, Regex};

use crate::syntax::{Path, is_path_text};

/// How the path changes.
#[derive(Debug)]
pub(crate) enum PathRewrite {
    None,
    Prefix(Prefix),
    Regex(PathRegex),
}

impl PathRewrite {
    /// The new path and query; `None` when the rewrite does not apply to it.
    pub(crate) fn rewritten(&self, req: &Request) -> Option<String> {
        let rewritten: &dyn Fn(&str) -> Option<String> = match self {
            Self::None => return None,
            Self::Prefix(prefix) => &|target| prefix.rewritten(target),
            Self::Regex(regex) => &|target| regex.rewritten(target),
        };
        Some(req.path_and_query()).filter(|target| target.starts_with('/')).and_then(rewritten)
    }
}

/// Path, and query with its `?`.
fn split_query(target: &str) -> (&str, &str) {
    target.split_at(target.bytes().position(|byte| byte == b'?').unwrap_or(target.len()))
}

/// Whole segments off the path's beginning and others in their place, both without the slash at their end.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// What the route matched, when there is none.
    strip: Option<String>,
    put: String,
}

impl Prefix {
    /// `None` when nothing would change.
    pub(crate) fn new(strip: Option<Path>, put: Option<Path>) -> Option<Self> {
        if strip.is_none() && put.is_none() {
            return None;
        }
        let strip = strip.map(|path| without_slash(&path).to_owned());
        let put = put.map_or(String::new(), |path| without_slash(&path).to_owned());
        (strip.as_ref() != Some(&put)).then_some(Self { strip, put })
    }

    fn rewritten(&self, target: &str) -> Option<String> {
        if let Some(strip) = &self.strip {
            return replaced(strip, &self.put, target);
        }
        let of_route = |prefix: &str| replaced(without_slash(prefix), &self.put, target);
        match exchange::with_attribute(Attribute::RoutePrefix, of_route) {
            Some(rewritten) => rewritten,
            None => replaced("", &self.put, target),
        }
    }
}

fn without_slash(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// The target with `put` for `strip`; `None` when it does not begin with those segments or stays as it is.
fn replaced(strip: &str, put: &str, target: &str) -> Option<String> {
    let (path, query) = split_query(target);
    let rest = path.strip_prefix(strip).filter(|_| strip != put)?;
    let nothing_left = match rest.as_bytes().first() {
        None => put.is_empty(),
        Some(b'/') => false,
        Some(_) => return None,
    };
    Some([put, if nothing_left { "/" } else { rest }, query].concat())
}

/// `{ pattern = "...", replacement = "..." }`: every match in the path is replaced.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawPathRegex")]
pub(crate) struct PathRegex {
    pattern: Regex,
    replacement: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPathRegex {
    pattern: String,
    replacement: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Capture(usize),
}

impl TryFrom<RawPathRegex> for PathRegex {
    type Error = String;

    fn try_from(raw: RawPathRegex) -> Result<Self, String> {
        let pattern = Regex::new(&raw.pattern).map_err(|error| format!("pattern {:?}: {error}", raw.pattern))?;
        let replacement = parts(&raw.replacement, &pattern)
            .map_err(|reason| format!("replacement {:?}: {reason}", raw.replacement))?;
        Ok(Self { pattern, replacement })
    }
}

impl PathRegex {
    fn rewritten(&self, target: &str) -> Option<String> {
        let (path, query) = split_query(target);
        if !self.pattern.is_match(path) {
            return None;
        }
        let mut new = String::with_capacity(2 * target.len());
        let mut copied = 0;
        for captures in self.pattern.captures_iter(path) {
            let Some(whole) = captures.get(0) else { continue };
            new.push_str(&path[copied..whole.start()]);
            self.replace(&captures, &mut new);
            copied = whole.end();
        }
        new.push_str(&path[copied..]);
        if !new.starts_with('/') {
            new.insert(0, '/');
        }
        new.push_str(query);
        Some(new)
    }

    /// A capture that took no part in the match is empty.
    fn replace(&self, captures: &Captures<'_>, out: &mut String) {
        for part in &self.replacement {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Capture(index) => out.push_str(captures.get(*index).map_or("", |capture| capture.as_str())),
            }
        }
    }
}

/// Reads `/users/$1/${name}`, where `$$` is the sign itself.
fn parts(replacement: &str, pattern: &Regex) -> Result<Vec<Part>, String> {
    if !is_path_text(replacement) {
        return Err("only what may stand in a path: no query, blank or fragment".to_owned());
    }
    let mut parts = Vec::new();
    let mut rest = replacement;
    while let Some((text, after)) = rest.split_once('$') {
        parts.push(Part::Text(text.to_owned()));
        let (part, after) = reference(after, pattern)?;
        parts.push(part);
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    Ok(parts)
}

/// What a `$` stands for, and the text behind it.
fn reference<'a>(after: &'a str, pattern: &Regex) -> Result<(Part, &'a str), String> {
    if let Some(rest) = after.strip_prefix('$') {
        return Ok((Part::Text("$".to_owned()), rest));
    }
    let (name, rest) = match after.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or("`${` is not closed")?,
        None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
    };
    if name.is_empty() {
        return Err("a `$` begins a capture, such as `$1` or `${name}`; the sign itself is `$$`".to_owned());
    }
    let index = capture_index(name, pattern).ok_or_else(|| format!("the pattern has no capture `{name}`"))?;
    Ok((Part::Capture(index), rest))
}

fn capture_index(name: &str, pattern: &Regex) -> Option<usize> {
    match name.parse() {
        Ok(index) => (index < pattern.captures_len()).then_some(index),
        Err(_) => pattern.capture_names().position(|known| known == Some(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(strip: &str, put: &str) -> PathRewrite {
        let path = |text: &str| (!text.is_empty()).then(|| Path::try_from(text.to_owned()).unwrap());
        Prefix::new(path(strip), path(put)).map_or(PathRewrite::None, PathRewrite::Prefix)
    }

    fn regex(pattern: &str, replacement: &str) -> Result<PathRewrite, String> {
        let raw = RawPathRegex { pattern: pattern.to_owned(), replacement: replacement.to_owned() };
        PathRegex::try_from(raw).map(PathRewrite::Regex)
    }

    #[test]
    fn prefixes_are_whole_segments() {
        for (strip, put, target, expected) in [
            ("/v1", "/", "/v1", Some("/")),
            ("/v1", "/", "/v1/", Some("/")),
            ("/v1", "/", "/v1/orders?a=/v1", Some("/orders?a=/v1")),
            ("/v1", "/", "/v1?a", Some("/?a")),
            ("/v1", "/", "/v10/orders", None),
            ("/v1", "/", "/orders", None),
            ("/v1/", "", "/v1/orders", Some("/orders")),
            ("/v1", "", "/v1//orders", Some("//orders")),
            ("/v1", "/v2/", "/v1/orders", Some("/v2/orders")),
            ("/v1", "/v2", "/v1", Some("/v2")),
            ("/", "/api", "/orders", Some("/api/orders")),
            ("/", "/api", "/", Some("/api/")),
            ("/", "/api", "*", None),
            ("/", "/", "/orders", None),
            ("/v1", "/v1", "/v1/orders", None),
        ] {
            assert_eq!(
                prefix(strip, put).rewritten(&Request::get(target)).as_deref(),
                expected,
                "{strip} -> {put}: {target}"
            );
        }
    }

    #[test]
    fn expressions_see_the_path_alone() {
        for (pattern, replacement, target, expected) in [
            ("^/users/([0-9]+)$", "/u/$1", "/users/7?users=1", Some("/u/7?users=1")),
            ("^/users/([0-9]+)$", "/u/$1", "/users/x", None),
            ("^/(?<shop>[a-z]+)/(?<id>.+)", "/${id}/in_$shop", "/tea/7", Some("/7/in_tea")),
            ("a", "b", "/banana", Some("/bbnbnb")),
            ("^/v1", "", "/v1", Some("/")),
            ("^/(.*)$", "$1", "/orders", Some("/orders")),
            ("/(a)?(b)?", "/$1-$2", "/b", Some("/-b")),
            ("x", "$$1", "/x", Some("/$1")),
            ("\\?", "", "/a?b", None),
            (".", "x", "*", None),
        ] {
            let rewrite = regex(pattern, replacement).unwrap();
            assert_eq!(
                rewrite.rewritten(&Request::get(target)).as_deref(),
                expected,
                "{pattern} -> {replacement}: {target}"
            );
        }
    }

    #[test]
    fn a_replacement_that_cannot_work_is_refused() {
        for (pattern, replacement, expected) in [
            ("(", "/", "pattern \"(\": "),
            ("a", "/$1", "replacement \"/$1\": the pattern has no capture `1`"),
            ("(a)", "/$1b", "replacement \"/$1b\": the pattern has no capture `1b`"),
            ("(?<n>a)", "/${m}", "replacement \"/${m}\": the pattern has no capture `m`"),
            ("a", "/${1", "replacement \"/${1\": `${` is not closed"),
            ("a", "/$", "replacement \"/$\": a `$` begins a capture"),
            ("a", "/?b", "replacement \"/?b\": only what may stand in a path"),
        ] {
            let error = regex(pattern, replacement).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
