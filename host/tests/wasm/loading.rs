//! Which files are filters, and what users read about those that are not.

use std::{fs, sync::Arc};

use meshup::wasm::{Module, ModuleError, Runtime, RuntimeOptions};

use crate::guest::{Guest, exchange, runtime};

fn refusal(wasm: &[u8]) -> String {
    runtime().load(wasm).unwrap_err().to_string()
}

#[test]
fn case_58_files_that_are_no_modules() {
    assert_eq!(refusal(b""), "the file is empty");
    assert_eq!(
        refusal(b"#!/bin/sh\necho"),
        r##"not a WebAssembly module: it begins with "#!/bin/sh\necho", not with "\0asm""##
    );
    assert!(refusal(Guest::default().text().as_bytes()).starts_with("not a WebAssembly module"));
    assert!(refusal(b"\0asm").contains("ends within its header"));
    assert!(refusal(b"\0asm\x0d\0\x01\0").contains("component, not a core module"));
    assert!(refusal(&wat::parse_str("(component)").unwrap()).contains("component, not a core module"));
    assert!(refusal(b"\0asm\x02\0\0\0").contains("unknown version"));
    let mut large = Guest::default().wasm();
    large.resize((32 << 20) + 1, 0);
    assert!(refusal(&large).contains("more than the 33554432 allowed"));
}

#[test]
fn case_58_a_module_cut_anywhere_is_refused() {
    let (runtime, wasm) = (runtime(), Guest::default().wasm());
    for len in (0..wasm.len()).step_by(7) {
        assert!(runtime.load(&wasm[..len]).is_err(), "{len} of {}", wasm.len());
    }
}

#[test]
fn case_58_exports_are_checked() {
    let empty = wat::parse_str("(module)").unwrap();
    assert_eq!(refusal(&empty), "not a meshup filter: it does not export `memory`, a memory");
    let text = Guest::default().text();
    let changed = |from: &str, to: &str| refusal(&wat::parse_str(text.replace(from, to)).unwrap());
    assert_eq!(
        changed("meshup_on_event", "other"),
        "not a meshup filter: it does not export `meshup_on_event`, a function (i32, i32, i32) -> i64"
    );
    assert_eq!(
        changed("(param $len i32) (result i32) (i32.const 4096)", "(result i32) (i32.const 4096)"),
        "export `meshup_buffer` is a function () -> i32, not a function (i32) -> i32"
    );
    assert_eq!(
        changed(r#"(export "memory") 2"#, r#"2) (global (export "memory") i32 (i32.const 0)"#),
        "export `memory` is a global, not a memory"
    );
}

#[test]
fn case_58_imports_are_checked() {
    let with = |imports| refusal(&Guest { imports, ..Guest::default() }.wasm());
    assert_eq!(
        with(r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#),
        "it imports `wasi_snapshot_preview1.fd_write`, which this host does not have: build for \
         wasm32-unknown-unknown, without WASI"
    );
    assert!(with(r#"(import "meshup" "fly" (func))"#).contains("built for a later version"));
    let wrong = with(r#"(import "meshup" "log" (func (param i32)))"#);
    assert!(wrong.starts_with("import `log` has the wrong signature"), "{wrong}");
    assert!(with(r#"(import "meshup" "log" (global i32))"#).contains("wrong signature"));
}

#[test]
fn case_58_the_version_is_checked() {
    let version = |version| Guest { version, ..Guest::default() }.load(&runtime()).unwrap_err();
    assert_eq!(version("(i32.const 2)"), ModuleError::Version { found: 2 });
    assert!(matches!(version("unreachable"), ModuleError::Faulted { .. }));
}

#[test]
fn a_module_is_loaded_once_and_freed_when_nobody_uses_it() {
    let (runtime, wasm) = (runtime(), Guest::default().wasm());
    let module = runtime.load(&wasm).unwrap();
    assert!(Arc::ptr_eq(&module, &runtime.load(&wasm).unwrap()));
    assert_eq!((module.size(), module.digest().len()), (wasm.len(), 64));
    let weak = Arc::downgrade(&module);
    assert_eq!(runtime.modules_loaded(), 1);
    drop(module);
    assert!(weak.upgrade().is_none());
    assert_eq!(runtime.modules_loaded(), 0);
}

#[test]
fn case_59_compiled_code_comes_from_disk_when_it_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let load = || -> (Arc<Runtime>, Arc<Module>) {
        let options =
            RuntimeOptions { cache_dir: Some(folder.path().into()), max_instances: 4, ..RuntimeOptions::default() };
        let runtime = Runtime::new(options).unwrap();
        let module = runtime.load(&Guest::default().wasm()).unwrap();
        exchange(&Guest::default().worker_filter(&runtime)).unwrap();
        (runtime, module)
    };
    let file = || {
        let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        files.remove(0)
    };
    load();
    let written = fs::metadata(file()).unwrap().modified().unwrap();
    load();
    assert_eq!(fs::metadata(file()).unwrap().modified().unwrap(), written);

    let sound = fs::read(file()).unwrap();
    let mut damaged = sound.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for content in [&damaged[..], &sound[..100], b""] {
        fs::write(file(), content).unwrap();
        load();
        assert_eq!(fs::read(file()).unwrap().len(), sound.len());
    }
}
