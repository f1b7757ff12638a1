//! Filters in WebAssembly text, for what no compiler would write.

use std::{fs, path::Path};

/// A guest that passes every request, but for what is put in its place.
pub(crate) struct Guest<'a> {
    /// Imports, before everything else.
    pub(crate) imports: &'a str,
    pub(crate) version: &'a str,
    /// `$len` to a packed answer.
    pub(crate) configure: &'a str,
    /// `$exchange $event $len` to a packed answer.
    pub(crate) on_event: &'a str,
    /// Anything else.
    pub(crate) rest: &'a str,
}

/// Packed answers, all of which stand in the memory of every guest.
pub(crate) mod answers {
    pub(crate) const PASS: &str = "(i64.const 0x1000000004)";
    /// With the wish for an End.
    pub(crate) const RUN: &str = "(i64.const 0x200000000e)";
    /// Of the request.
    pub(crate) const BODY: &str = "(i64.const 0x400000001c)";
    /// A millisecond.
    pub(crate) const SLEEP: &str = "(i64.const 0x8000000012)";
    /// From the upstream `origin`.
    pub(crate) const FETCH: &str = "(i64.const 0xa00000001e)";
    pub(crate) const DELIVER: &str = "(i64.const 0xd000000004)";
}

const DATA: &str = r#"
    (data (i32.const 0x10) "\01\00\00\00")
    (data (i32.const 0x20) "\02\00\00\00\0a\00\04\00\00\00\04\00\00\00")
    (data (i32.const 0x40) "\05\00\00\00\11\00\08\00\00\00\00\00\00\00\00\00\00\40\0a\00\04\00\00\00\08\00\00\00")
    (data (i32.const 0x80) "\07\00\00\00\0f\00\08\00\00\00\e8\03\00\00\00\00\00\00")
    (data (i32.const 0xa0) "\06\00\00\00\0e\00\06\00\00\00origin\11\00\08\00\00\00\00\01\00\00\00\00\00\00")
    (data (i32.const 0xd0) "\04\00\00\00")"#;

impl Default for Guest<'_> {
    fn default() -> Self {
        Self { imports: "", version: "(i32.const 1)", configure: "(i64.const 0)", on_event: answers::PASS, rest: "" }
    }
}

impl<'a> Guest<'a> {
    pub(crate) fn on_event(on_event: &'a str) -> Self {
        Self { on_event, ..Self::default() }
    }

    pub(crate) fn wasm(&self) -> Vec<u8> {
        let Self { imports, version, configure, on_event, rest } = self;
        let text = format!(
            r#"(module {imports} (memory (export "memory") 4) {DATA}
                (func (export "meshup_abi_version") (result i32) {version})
                (func (export "meshup_buffer") (param $len i32) (result i32) (i32.const 4096))
                (func (export "meshup_configure") (param $len i32) (result i64) {configure})
                (func $on_event (export "meshup_on_event")
                    (param $exchange i32) (param $event i32) (param $len i32) (result i64) {on_event})
                {rest})"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, self.wasm()).unwrap();
    }
}
