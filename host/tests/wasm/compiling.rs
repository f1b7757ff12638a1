//! Compiling in a child process: what it gives, what it refuses, and when it is ended.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use meshup::wasm::{Compiler, ModuleError, Priority, Runtime, RuntimeOptions};

use crate::guest::{Guest, exchange};

const PATIENCE: Duration = Duration::from_secs(120);

fn child(deadline: Duration) -> Compiler {
    Compiler::Child { program: env!("CARGO_BIN_EXE_meshup").into(), deadline }
}

fn runtime(compiler: Compiler, cache_dir: Option<PathBuf>) -> Arc<Runtime> {
    Runtime::new(RuntimeOptions { cache_dir, compiler, max_instances: 4 }).unwrap()
}

/// One function of so many instructions, which the compiler cannot share out.
fn endless() -> Vec<u8> {
    let step = "(local.set 0 (i32.add (local.get 0) (i32.rotl (local.get 1) (local.get 2))))
        (local.set 1 (i32.mul (local.get 1) (local.get 0))) (local.set 2 (i32.xor (local.get 2) (local.get 1)))";
    wat::parse_str(format!("(module (func (param i32 i32 i32) {}))", step.repeat(100_000))).unwrap()
}

#[test]
fn what_a_child_compiles_runs_here() {
    for priority in [Priority::Normal, Priority::Low] {
        let runtime = runtime(child(PATIENCE), None);
        let module = runtime.load_with(&Guest::default().wasm(), priority, 1 << 20).unwrap();
        assert_eq!(exchange(&Guest::default().worker_filter(&runtime)).unwrap(), [1, 0, 0, 0]);
        drop(module);
    }
}

#[test]
fn a_child_says_the_same_of_a_bad_module() {
    let mut wasm = Guest::default().wasm();
    wasm.truncate(wasm.len() - 3);
    let refusal = |compiler| runtime(compiler, None).load(&wasm).unwrap_err();
    let error = refusal(child(PATIENCE));
    assert_eq!(error, refusal(Compiler::InProcess));
    assert!(matches!(error, ModuleError::Invalid { .. }), "{error}");
}

#[test]
fn case_58_a_module_that_takes_too_long_is_refused() {
    let wasm = endless();
    let began = Instant::now();
    let deadline = Duration::from_millis(50);
    let error = runtime(child(deadline), None).load(&wasm).unwrap_err();
    assert_eq!(error, ModuleError::TooSlow { limit: deadline });
    assert_eq!(error.to_string(), "it takes longer than 50ms to compile");
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_child_that_fails_is_told_from_a_module_that_is_bad() {
    let compiler = Compiler::Child { program: "/bin/false".into(), deadline: PATIENCE };
    let error = runtime(compiler, None).load(&Guest::default().wasm()).unwrap_err();
    assert_eq!(error.to_string(), "the compiler failed: exit status: 1");
    let compiler = Compiler::Child { program: "/bin/true".into(), deadline: PATIENCE };
    let error = runtime(compiler, None).load(&Guest::default().wasm()).unwrap_err();
    assert!(error.to_string().starts_with("the compiler failed: its code cannot be used"), "{error}");
}

#[test]
fn without_a_child_the_module_is_compiled_here() {
    let compiler = Compiler::Child { program: "/nonexistent/meshup".into(), deadline: PATIENCE };
    exchange(&Guest::default().worker_filter(&runtime(compiler, None))).unwrap();
}

#[test]
fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
    let folder = tempfile::tempdir().unwrap();
    let inaccessible = folder.path().join("file");
    fs::write(&inaccessible, "").unwrap();
    let open_to_all = folder.path().join("open");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
    let gone = folder.path().join("gone");
    for dir in [inaccessible.join("cache"), open_to_all.clone(), gone.clone()] {
        let runtime = runtime(child(PATIENCE), Some(dir));
        _ = fs::remove_dir(&gone);
        exchange(&Guest::default().worker_filter(&runtime)).unwrap();
    }
    assert_eq!(fs::read_dir(open_to_all).unwrap().count(), 0);
}
