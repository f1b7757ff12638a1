//! Which configuration values may not be shown.
//!
//! A value is hidden when its key contains one of [`WORDS`], in any case, at any depth; everything below such a key is
//! hidden with it. A table that *names* such a thing (`{ name = "authorization", value = "..." }`) has its values hidden
//! too. This hides too much (`"keys"` may be public) rather than too little.
//!
//! **Invariant:** nothing below a secret-looking key leaves this module.

use serde_json::{Map, Value};

/// What stands in the place of a hidden value.
pub(super) const HIDDEN: &str = "<hidden>";

/// Parts of keys whose values are hidden.
const WORDS: [&str; 15] = [
    "auth",
    "bearer",
    "cookie",
    "credential",
    "hmac",
    "jwk",
    "key",
    "pass",
    "private",
    "salt",
    "secret",
    "session",
    "signature",
    "signing",
    "token",
];

/// Whether the value of `key` is hidden.
pub(super) fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    WORDS.iter().any(|word| key.contains(word))
}

/// `value` without what must not be shown.
pub(super) fn hide(value: Value) -> Value {
    match value {
        Value::Object(table) => Value::Object(hide_table(table)),
        Value::Array(items) => Value::Array(items.into_iter().map(hide).collect()),
        Value::String(text) if carries_credentials(&text) => HIDDEN.into(),
        other => other,
    }
}

fn hide_table(table: Map<String, Value>) -> Map<String, Value> {
    let names_a_secret = ["name", "header"].iter().any(|key| table.get(*key).is_some_and(is_secret_name));
    table
        .into_iter()
        .map(|(key, value)| {
            let hidden = looks_secret(&key) || (names_a_secret && key.starts_with("value"));
            let value = if hidden { HIDDEN.into() } else { hide(value) };
            (key, value)
        })
        .collect()
}

fn is_secret_name(value: &Value) -> bool {
    value.as_str().is_some_and(looks_secret)
}

/// `Bearer ...`, `Basic ...`, `scheme://user:password@host`.
fn carries_credentials(text: &str) -> bool {
    let lower = text.trim_start().to_ascii_lowercase();
    let user_info = lower.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    lower.starts_with("bearer ") || lower.starts_with("basic ") || user_info.is_some_and(|host| host.contains('@'))
}

/// How many bytes of a line of TOML may be shown: up to the end of the first secret-looking key that is given a value.
pub(super) fn public_prefix(line: &str) -> usize {
    let assignments = line.match_indices('=').map(|(at, _)| at);
    assignments.filter(|at| ends_with_secret_key(line.get(..*at).unwrap_or_default())).min().unwrap_or(line.len())
}

fn ends_with_secret_key(before: &str) -> bool {
    let key = before.rsplit(['{', ',', '[', '=']).next().unwrap_or_default();
    looks_secret(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_secret_looking_keys_are_hidden_at_any_depth() {
        let cases = [
            (json!({"keys": {"alice": "x"}, "header": "x-api-key"}), json!({"keys": HIDDEN, "header": "x-api-key"})),
            (
                json!({"issuers": [{"jwks": {"a": 1}, "url": "https://a"}]}),
                json!({"issuers": [{"jwks": HIDDEN, "url": "https://a"}]}),
            ),
            (json!({"API_Token": 5}), json!({"API_Token": HIDDEN})),
            (json!({"set": {"authorization": "x"}}), json!({"set": {"authorization": HIDDEN}})),
            (json!([{"name": "Cookie", "value": "x"}]), json!([{"name": "Cookie", "value": HIDDEN}])),
            (json!({"set": ["Bearer abc", "plain"]}), json!({"set": [HIDDEN, "plain"]})),
            (json!({"url": "redis://u:p@h:1/0"}), json!({"url": HIDDEN})),
            (json!({"attempts": 3}), json!({"attempts": 3})),
        ];
        for (given, expected) in cases {
            assert_eq!(hide(given.clone()), expected, "{given}");
        }
    }

    #[test]
    fn a_line_is_public_up_to_a_secret_key() {
        for (line, shown) in [
            ("module = \"builtin:api-key\"", "module = \"builtin:api-key\""),
            ("filters = [\"keys\"]", "filters = [\"keys\"]"),
            ("config = { a = 1, \"keys\" = { b = \"x\" } }", "config = { a = 1, \"keys\" "),
            ("private_key = \"x\"", "private_key "),
        ] {
            assert_eq!(&line[..public_prefix(line)], shown);
        }
    }
}
