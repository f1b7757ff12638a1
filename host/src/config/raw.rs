//! A cursor over the TOML text: tables and values that know their place and report what is wrong with them.
//!
//! Not serde: serde stops at the first fault, and an author wants all of them. Knows no key by name; what the keys mean is
//! in the module of each noun.
//!
//! **Invariant:** a read that gives nothing back for a key that is present has reported a fault.

use std::{cell::RefCell, ops::Range, path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Diagnostics, Location, quoted},
    keys, suggest,
};

/// What is wrong with a value; the cursor adds the place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    message: String,
    help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The text and the faults found so far.
pub(super) struct Source<'a> {
    file: Arc<Path>,
    text: &'a str,
    faults: RefCell<Vec<Diagnostic>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &Path, text: &'a str) -> Self {
        Self { file: Arc::from(file), text, faults: RefCell::default() }
    }

    /// The file that the text is from.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Parses the text; reports every syntax error.
    pub(super) fn document(&self) -> Option<DeTable<'a>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let message = error.message().replace('\n', " ");
            let Some(span) = error.span() else {
                self.push(Location::file(&self.file), Fault::new(message));
                continue;
            };
            let typed = self.text.get(span.clone()).unwrap_or_default();
            let named = if message == "duplicate key" { format!("{message} {}", quoted(typed)) } else { message };
            self.report(span, Fault::new(named));
        }
        errors.is_empty().then(|| document.into_inner())
    }

    pub(super) fn locate(&self, span: Range<usize>) -> Location {
        Location::within(&self.file, self.text, span.start, span.end)
    }

    pub(super) fn report(&self, span: Range<usize>, fault: Fault) {
        self.push(self.locate(span), fault);
    }

    fn push(&self, location: Location, fault: Fault) {
        self.faults.borrow_mut().push(Diagnostic { location, message: fault.message, help: fault.help });
    }

    /// How many faults were found so far.
    pub(super) fn faults(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Ends the walk: all faults, if there are any.
    pub(super) fn finish(self) -> Option<Diagnostics> {
        Diagnostics::of(self.faults.into_inner())
    }
}

/// A value, its place and its full name such as `upstreams.orders.endpoints[1]`.
#[derive(Clone)]
pub(super) struct Value<'a> {
    source: &'a Source<'a>,
    path: String,
    span: Range<usize>,
    inner: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    fn new(source: &'a Source<'a>, path: String, spanned: &'a Spanned<DeValue<'a>>) -> Self {
        Self { source, path, span: spanned.span(), inner: spanned.get_ref() }
    }

    pub(super) fn inner(&self) -> &'a DeValue<'a> {
        self.inner
    }

    pub(super) fn source(&self) -> &'a Source<'a> {
        self.source
    }

    pub(super) fn location(&self) -> Location {
        self.source.locate(self.span.clone())
    }

    /// Reports a fault of this value.
    pub(super) fn report(&self, fault: Fault) {
        let message = format!("{}: {}", quoted(&self.path), fault.message);
        self.source.report(self.span.clone(), Fault { message, ..fault });
    }

    /// Reads the value; a fault is reported and gives `None`.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&Self) -> Result<T, Fault>) -> Option<T> {
        parse(self).map_err(|fault| self.report(fault)).ok()
    }

    /// The value has another type.
    pub(super) fn expected(&self, what: &str) -> Fault {
        let found = match self.inner {
            DeValue::String(text) => format!("string {}", quoted(text)),
            DeValue::Integer(number) => format!("integer {}", quoted(&number.to_string())),
            DeValue::Float(number) => format!("float {}", quoted(number.as_str())),
            DeValue::Boolean(value) => format!("boolean `{value}`"),
            DeValue::Datetime(value) => format!("datetime `{value}`"),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        };
        Fault::new(format!("expected {what}, found {found}"))
    }

    /// The value as a string.
    pub(super) fn text(&self, what: &str) -> Result<&'a str, Fault> {
        self.inner.as_str().ok_or_else(|| self.expected(what))
    }

    /// The value as a table with no other keys than `section`'s.
    pub(super) fn table(&self, section: &'static keys::Section) -> Option<Table<'a>> {
        let table = self.open()?;
        table.refuse_unknown_keys(section);
        Some(Table { section: Some(section), ..table })
    }

    /// The value as a table whose keys are names that the author chose.
    pub(super) fn open(&self) -> Option<Table<'a>> {
        let inner = self.read(|value| value.inner.as_table().ok_or_else(|| value.expected("a table")))?;
        Some(Table { source: self.source, path: self.path.clone(), span: self.span.clone(), inner, section: None })
    }

    /// The items of a list; a fault gives none.
    pub(super) fn items(&self, what: &str) -> Vec<Value<'a>> {
        let Some(array) = self.read(|value| value.inner.as_array().ok_or_else(|| value.expected(what))) else {
            return Vec::new();
        };
        let item =
            |(n, item): (usize, &'a Spanned<DeValue<'a>>)| Value::new(self.source, format!("{}[{n}]", self.path), item);
        array.iter().enumerate().map(item).collect()
    }

    /// The items of a list, or the value itself when it is a string.
    pub(super) fn one_or_many(&self, what: &str) -> Vec<Value<'a>> {
        if self.inner.is_str() { vec![self.clone()] } else { self.items(what) }
    }
}

/// A table, its place and its full name.
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    path: String,
    span: Range<usize>,
    inner: &'a DeTable<'a>,
    section: Option<&'static keys::Section>,
}

impl<'a> Table<'a> {
    /// The document's own table.
    pub(super) fn root(source: &'a Source<'a>, inner: &'a DeTable<'a>, section: &'static keys::Section) -> Self {
        let table = Self { source, path: String::new(), span: 0..0, inner, section: Some(section) };
        table.refuse_unknown_keys(section);
        table
    }

    fn refuse_unknown_keys(&self, section: &keys::Section) {
        for key in self.inner.keys().filter(|key| !section.keys.contains(&key.get_ref().as_ref())) {
            let within =
                if self.path.is_empty() { "at the top level".into() } else { format!("in {}", quoted(&self.path)) };
            let message = format!("unknown key {} {within}", quoted(key.get_ref()));
            self.source.report(key.span(), Fault::new(message).help(unknown_key_help(key.get_ref(), section)));
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        debug_assert!(self.section.is_none_or(|section| section.keys.contains(&key)), "undeclared key {key}");
        self.inner.get(key).map(|value| Value::new(self.source, self.path_of(key), value))
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.report_missing(key);
        }
        value
    }

    fn report_missing(&self, key: &str) {
        let missing = format!("missing key {}", quoted(key));
        if self.path.is_empty() {
            return self.source.push(Location::file(self.source.file()), Fault::new(missing));
        }
        self.report(Fault::new(missing));
    }

    /// Reads the value of a key, if it is there.
    pub(super) fn read<T>(&self, key: &str, parse: impl FnOnce(&Value<'a>) -> Result<T, Fault>) -> Option<T> {
        self.get(key)?.read(parse)
    }

    /// Keys, as values that report at the key, with their values.
    pub(super) fn entries(&self) -> Vec<(Key<'a>, Value<'a>)> {
        let entry = |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a str = key.get_ref();
            (Key { source: self.source, name, span: key.span() }, Value::new(self.source, self.path_of(name), value))
        };
        self.inner.iter().map(entry).collect()
    }

    /// The file that the table is from.
    pub(super) fn file_location(&self) -> Location {
        Location::file(self.source.file())
    }

    /// Where the key stands, or the table when the key is absent.
    pub(super) fn key_location(&self, key: &str) -> Location {
        let span = self.inner.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span());
        self.source.locate(span)
    }

    /// Reports a fault of the table as a whole.
    pub(super) fn report(&self, fault: Fault) {
        let message = format!("{}: {}", quoted(&self.path), fault.message);
        self.source.report(self.span.clone(), Fault { message, ..fault });
    }
}

/// A key whose name the author chose.
pub(super) struct Key<'a> {
    source: &'a Source<'a>,
    pub(super) name: &'a str,
    span: Range<usize>,
}

impl Key<'_> {
    pub(super) fn report(&self, fault: Fault) {
        self.source.report(self.span.clone(), fault);
    }
}

/// A near key of the section, or the section that knows the key.
fn unknown_key_help(typed: &str, section: &keys::Section) -> String {
    let allowed = suggest::help(typed, "allowed", section.keys);
    let elsewhere = keys::SECTIONS.iter().find(|other| other.keys.contains(&typed));
    match elsewhere {
        Some(other) => format!("{} is a key of {}; {allowed}", quoted(typed), other.title),
        None => allowed,
    }
}
