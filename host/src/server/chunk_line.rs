//! The line before a chunk: its size, and extensions that mean nothing here (RFC 9112 section 7.1).
//!
//! Stricter than the parser behind the guard: a line on which two readers might disagree is none.
//!
//! **Invariant:** a size comes out of a line that the grammar allows, and of no other.

/// The most digits that fit a size.
const MAX_DIGITS: usize = 16;

/// The size that a line without its CR LF says.
pub(super) fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at_checked(digits)?;
    let is_valid = (1..=MAX_DIGITS).contains(&digits) && are_extensions(extensions);
    let size = std::str::from_utf8(size).ok().filter(|_| is_valid)?;
    u64::from_str_radix(size, 16).ok()
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] ) BWS`: white space alone is no extension, nor is it part of a size.
fn are_extensions(text: &[u8]) -> bool {
    let mut rest = behind_space(text);
    if rest.is_empty() {
        return text.is_empty();
    }
    while let Some((&first, behind)) = rest.split_first() {
        match extension(behind).filter(|_| first == b';') {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

/// What is behind one extension.
fn extension(text: &[u8]) -> Option<&[u8]> {
    let behind = behind_space(behind_token(behind_space(text))?);
    let Some(value) = behind.strip_prefix(b"=").map(behind_space) else { return Some(behind) };
    let behind = match value.strip_prefix(b"\"") {
        Some(quoted) => behind_quoted(quoted),
        None => behind_token(value),
    };
    behind.map(behind_space)
}

fn behind_space(text: &[u8]) -> &[u8] {
    let len = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    text.get(len..).unwrap_or_default()
}

fn behind_token(text: &[u8]) -> Option<&[u8]> {
    let len = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)).count();
    text.get(len..).filter(|_| len > 0)
}

/// Behind the closing quote of what began with one.
fn behind_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut bytes = text.iter();
    loop {
        match bytes.next()? {
            b'"' => return Some(bytes.as_slice()),
            b'\\' => _ = bytes.next().filter(|byte| is_text(byte))?,
            byte => _ = Some(byte).filter(|byte| is_text(byte))?,
        }
    }
}

fn is_text(byte: &u8) -> bool {
    *byte == b'\t' || (b' '..=b'~').contains(byte) || *byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_extensions() {
        for (line, expected) in [
            ("5", 5),
            ("00A", 10),
            ("ffffffffffffffff", u64::MAX),
            ("5;a", 5),
            ("5 \t;a", 5),
            ("5; a = b", 5),
            ("5;a=b ;c\t", 5),
            ("5;a=\"x;y\\\"\\\\=\u{e9}\";b=\"\"", 5),
            ("0;z", 0),
        ] {
            assert_eq!(size(line.as_bytes()), Some(expected), "{line}");
        }
    }

    #[test]
    fn lines_that_are_none() {
        let sizes = ["", "x", "0x5", "+5", "-5", " 5", "5 ", "5_0", "5,5", "10000000000000005", "5\0", "5\r"];
        let extensions =
            ["5;", "5; ", "5 ;", "5;;a", "5;a;", "5;=b", "5;a=", "5;a=b c", "5;a b", "5;a\0", "5;a\rb", "5;\u{e9}"];
        let quoted =
            ["5;a=\"b", "5;a=\"b\\", "5;a=\"b\\\"", "5;a=\"b\"c", "5;a=\"\x01\"", "5;a=\"\\\x7f\"", "5;a=b\"c\""];
        for line in [&sizes[..], &extensions, &quoted].concat() {
            assert_eq!(size(line.as_bytes()), None, "{line:?}");
        }
    }
}
