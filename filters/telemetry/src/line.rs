//! Text from elsewhere on one line of a log.
//!
//! **Invariant:** no text ends its value or its line early, and none takes more than [`MAX_VALUE_BYTES`].

use std::fmt::Write;

/// A longer value is cut, so that the host need not cut the line: it does that at 8 KiB.
const MAX_VALUE_BYTES: usize = 1024;

/// Writing to a String does not fail.
fn put(line: &mut String, text: std::fmt::Arguments<'_>) {
    _ = line.write_fmt(text);
}

/// Appends a JSON string.
pub(crate) fn push_json(line: &mut String, text: &str) {
    line.push('"');
    push_escaped(line, text, |line, char| match char {
        '"' => line.push_str("\\\""),
        '\\' => line.push_str("\\\\"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        // Beyond what JSON asks for: the host would rewrite the controls from DEL on, and readers may break lines at
        // the separators. All of them have one UTF-16 unit.
        char if is_unsafe(char) => put(line, format_args!("\\u{:04x}", u32::from(char))),
        char => line.push(char),
    });
    line.push('"');
}

/// Appends a text as it stands between quotes in the common log format.
pub(crate) fn push_common(line: &mut String, text: &str) {
    push_escaped(line, text, |line, char| match char {
        '"' => line.push_str("\\\""),
        '\\' => line.push_str("\\\\"),
        char if is_unsafe(char) => {
            char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| put(line, format_args!("\\x{byte:02x}")));
        }
        char => line.push(char),
    });
}

fn is_unsafe(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}

fn push_escaped(line: &mut String, text: &str, push: impl Fn(&mut String, char)) {
    let end = line.len() + MAX_VALUE_BYTES;
    for char in text.chars() {
        let before = line.len();
        push(line, char);
        if line.len() > end {
            line.truncate(before);
            return line.push_str("...");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut line = String::new();
        push_json(&mut line, text);
        assert!(!line.contains(is_unsafe));
        line
    }

    fn common(text: &str) -> String {
        let mut line = String::new();
        push_common(&mut line, text);
        assert!(!line.contains(is_unsafe));
        line
    }

    #[test]
    fn every_character_comes_back_from_json() {
        let all: Vec<char> = (0..0x2100).filter_map(char::from_u32).chain(['\u{fffd}', '\u{1f600}']).collect();
        for text in all.chunks(100) {
            let text: String = text.iter().collect();
            assert_eq!(serde_json::from_str::<String>(&json(&text)).unwrap(), text);
        }
        assert_eq!(json("a\"\\\n\u{0}\u{7f}\u{85}é"), r#""a\"\\\n\u0000\u007f\u0085é""#);
    }

    #[test]
    fn quotes_and_controls_are_escaped_in_the_common_format() {
        assert_eq!(common("a\" \\ \r\n\u{1b}\u{85}é"), r#"a\" \\ \x0d\x0a\x1b\xc2\x85é"#);
    }

    #[test]
    fn a_value_may_have_1_kib_and_is_cut_beyond() {
        assert_eq!(common(&"a".repeat(1024)), "a".repeat(1024));
        assert_eq!(common(&"a".repeat(1025)), format!("{}...", "a".repeat(1024)));
        let cut: String = serde_json::from_str(&json(&"\u{1}".repeat(5000))).unwrap();
        assert!(cut.len() < 200 && cut.ends_with("..."));
    }
}
