//! What is wrong with a configuration, and where, as its author reads it.
//!
//! Knows nothing of TOML: whoever holds a [`Location`] can make a [`Diagnostic`] of it, also long after parsing (a module
//! that does not load, a filter that refuses its `config`).
//!
//! **Invariant:** a diagnostic shows no text behind a key that looks like a secret's (see [`secret`](super::secret)).

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::secret;

/// How many diagnostics are shown; the rest is counted.
const SHOWN: usize = 50;
/// Characters of a source line that are shown.
const MAX_EXCERPT: usize = 120;
/// Characters of a quoted value that are shown.
const MAX_QUOTED: usize = 80;

/// A place in a configuration file, or the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    file: Arc<Path>,
    spot: Option<Spot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Spot {
    line: usize,
    column: usize,
    excerpt: String,
    /// Characters of the excerpt before the marked ones.
    marked_at: usize,
    width: usize,
}

impl Location {
    /// The file as a whole.
    pub fn file(file: &Path) -> Self {
        Self { file: Arc::from(file), spot: None }
    }

    /// The bytes `start..end` of `text`, the content of `file`. Offsets outside of the text mean its end.
    pub(super) fn within(file: &Arc<Path>, text: &str, start: usize, end: usize) -> Self {
        let start = text.floor_char_boundary(start);
        let end = text.floor_char_boundary(end).max(start);
        let (before, after) = text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = start + after.find('\n').unwrap_or(after.len());
        let line = text.get(line_start..line_end).unwrap_or_default();
        let indent = before.get(line_start..).unwrap_or_default().chars().count();
        let skipped = if indent < MAX_EXCERPT * 3 / 4 { 0 } else { indent - MAX_EXCERPT / 4 };
        let spot = Spot {
            line: before.matches('\n').count() + 1,
            column: indent + 1,
            excerpt: excerpt(line, skipped),
            marked_at: indent - skipped.saturating_sub(1),
            width: text.get(start..end.min(line_end)).unwrap_or_default().trim_end().chars().count().max(1),
        };
        Self { file: Arc::clone(file), spot: Some(spot) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The line, from 1; `None` for the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.spot.as_ref().map(|spot| spot.line)
    }

    /// The column in characters, from 1; `None` for the file as a whole.
    pub fn column(&self) -> Option<usize> {
        self.spot.as_ref().map(|spot| spot.column)
    }

    /// Says that `message` is wrong here.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic { location: self.clone(), message: message.into(), help: None }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.spot.as_ref().map_or(Ok(()), |spot| write!(f, ":{}:{}", spot.line, spot.column))
    }
}

/// The part of a source line that may be shown: bounded, printable, nothing after a secret's key. An ellipsis stands for
/// what is left out; of the beginning, `skipped` characters are.
fn excerpt(line: &str, skipped: usize) -> String {
    let line = line.trim_end();
    let public = line.get(..secret::public_prefix(line)).unwrap_or_default();
    let shown = public.chars().skip(skipped).take(MAX_EXCERPT).map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = if skipped > 0 { "…".into() } else { String::new() };
    out.extend(shown);
    if skipped + MAX_EXCERPT < public.chars().count() || public.len() < line.len() {
        out.push('…');
    }
    out
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub location: Location,
    /// What is wrong; lower case, names the thing and its value.
    pub message: String,
    /// What is allowed, or the likely slip.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Adds what is allowed, or the likely slip.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// As rustc does: message, place, source line, help; ends with a newline. Printable, whatever a filter says of its
    /// configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", printable(&self.message))?;
        let margin = self.location.line().map_or(1, |line| line.to_string().len());
        writeln!(f, "{:margin$}--> {}", "", self.location)?;
        if let Some(spot) = &self.location.spot {
            write_spot(f, spot, margin)?;
        }
        self.help.as_ref().map_or(Ok(()), |help| writeln!(f, "{:margin$} = help: {}", "", printable(help)))
    }
}

fn write_spot(f: &mut fmt::Formatter<'_>, spot: &Spot, margin: usize) -> fmt::Result {
    let shown = spot.excerpt.chars().count();
    if shown == 0 {
        return Ok(());
    }
    writeln!(f, "{:margin$} |", "")?;
    writeln!(f, "{} | {}", spot.line, spot.excerpt)?;
    let before = spot.marked_at;
    if before >= shown {
        return Ok(());
    }
    let width = spot.width.min(shown - before);
    writeln!(f, "{:margin$} | {:before$}{}", "", "", "^".repeat(width))
}

impl Serialize for Diagnostic {
    /// `{ file, line, column, message, help }`; without source text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diagnostic", 5)?;
        out.serialize_field("file", &self.location.file.to_string_lossy())?;
        out.serialize_field("line", &self.location.line())?;
        out.serialize_field("column", &self.location.column())?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("help", &self.help)?;
        out.end()
    }
}

/// Everything that is wrong, in the order of the text; at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics {
    shown: Vec<Diagnostic>,
    total: usize,
}

impl Diagnostics {
    /// `None` when nothing is wrong.
    pub fn of(mut all: Vec<Diagnostic>) -> Option<Self> {
        let total = all.len();
        all.sort_by_key(|one| (one.location.line(), one.location.column()));
        all.truncate(SHOWN);
        (total > 0).then_some(Self { shown: all, total })
    }

    /// The same with others, found later.
    #[must_use]
    pub(crate) fn and(self, others: Vec<Diagnostic>) -> Self {
        let total = self.total + others.len();
        let all = Self::of([self.shown, others].concat());
        Self { shown: all.map(|all| all.shown).unwrap_or_default(), total }
    }

    /// The faults, of many only the first ones.
    pub fn shown(&self) -> &[Diagnostic] {
        &self.shown
    }

    /// How many faults there are.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(only: Diagnostic) -> Self {
        Self { shown: vec![only], total: 1 }
    }
}

impl fmt::Display for Diagnostics {
    /// Every fault, then a line that counts them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.shown {
            writeln!(f, "{one}")?;
        }
        let file = self.shown.first().map_or(PathBuf::new(), |one| one.location.file.to_path_buf());
        let plural = if self.total == 1 { "" } else { "s" };
        write!(f, "{}: {} error{plural}", file.display(), self.total)?;
        match self.total - self.shown.len() {
            0 => Ok(()),
            hidden => write!(f, ", {hidden} of them not shown"),
        }
    }
}

impl Serialize for Diagnostics {
    /// A list of the faults that are shown.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown.serialize(serializer)
    }
}

/// The text with control characters escaped.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.into() };
    text.chars().map(escape).collect()
}

/// A value from the text as a message shows it: in backquotes, bounded, printable.
pub(super) fn quoted(value: &str) -> String {
    let mut out: String = value.chars().take(MAX_QUOTED).map(|c| if c.is_control() { '·' } else { c }).collect();
    if out.len() < value.len() && value.chars().nth(MAX_QUOTED).is_some() {
        out.push('…');
    }
    format!("`{out}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, start: usize, end: usize) -> Location {
        Location::within(&Arc::from(Path::new("a.toml")), text, start, end)
    }

    #[test]
    fn a_location_counts_lines_and_characters() {
        let text = "a = 1\nä = 2\n";
        for (start, line, column) in [(0, 1, 1), (4, 1, 5), (6, 2, 1), (8, 2, 2), (7, 2, 1), (999, 3, 1)] {
            let location = at(text, start, start + 1);
            assert_eq!((location.line(), location.column()), (Some(line), Some(column)), "{start}");
        }
    }

    #[test]
    fn a_diagnostic_reads_like_rustc() {
        let fault = at("x = 1\nload = 2\n", 6, 10).error("unknown key `load`").with_help("did you mean `loud`?");
        let expected =
            "error: unknown key `load`\n --> a.toml:2:1\n  |\n2 | load = 2\n  | ^^^^\n  = help: did you mean `loud`?\n";
        assert_eq!(fault.to_string(), expected);
    }

    #[test]
    fn a_message_cannot_forge_a_line_or_steer_the_terminal() {
        let fault = at("x = 1", 0, 1).error("refused: a\x1b[31m\nerror: b").to_string();
        assert!(fault.starts_with("error: refused: a\\u{1b}[31m\\nerror: b\n --> "), "{fault}");
    }

    #[test]
    fn a_diagnostic_shows_no_secret() {
        let shown = at("config = { secret = \"hunter2\", x = nan }", 35, 38).error("not a number").to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("config = { secret …"), "{shown}");
    }

    #[test]
    fn long_lines_and_many_faults_are_bounded() {
        let fault = at(&"x".repeat(10_000), 0, 10_000).error("long");
        assert!(fault.to_string().len() < 400);
        let all = Diagnostics::of(vec![fault; 1000]).unwrap();
        assert_eq!((all.shown().len(), all.total()), (SHOWN, 1000));
        assert!(all.to_string().ends_with("a.toml: 1000 errors, 950 of them not shown"));
        let more = all.and(vec![at("x", 0, 1).error("first")]);
        assert_eq!((more.shown().len(), more.total(), &*more.shown()[0].message), (SHOWN, 1001, "long"));
    }

    #[test]
    fn json_has_the_place_and_no_source() {
        let fault = at("key = 5", 6, 7).error("no");
        let json = serde_json::to_string(&Diagnostics::from(fault)).unwrap();
        assert_eq!(json, r#"[{"file":"a.toml","line":1,"column":7,"message":"no","help":null}]"#);
    }
}
