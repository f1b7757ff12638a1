//! `meshup filter ...` and `meshup check`, as typed.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn meshup(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshup")).args(args).current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_filter_has_its_files_and_a_good_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let made = meshup(folder.path(), &["filter", "new", "api-guard"]);
    assert!(made.status.success(), "{}", told(&made));
    let crate_folder = folder.path().join("api-guard");
    let manifest: toml::Table = fs::read_to_string(crate_folder.join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("api-guard"));
    let sdk = manifest["dependencies"]["meshup-sdk"]["path"].as_str().unwrap();
    assert!(Path::new(sdk).join("Cargo.toml").is_file());
    for file in ["src/lib.rs", ".gitignore", "README.md", "meshup.toml"] {
        assert!(crate_folder.join(file).is_file(), "{file}");
    }
}

#[test]
fn an_existing_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    let refused = meshup(folder.path(), &["filter", "new", "mine"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("mine exists already"), "{}", told(&refused));
    assert_eq!(fs::read_dir(folder.path().join("mine")).unwrap().count(), 0);
}

#[test]
fn inspect_says_why_a_module_is_no_filter_and_shows_it_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = wat::parse_str(
        r#"(module (import "env" "f" (func (param i32 i64) (result i32))) (memory (export "memory") 2))"#,
    );
    fs::write(folder.path().join("a.wasm"), wasm.unwrap()).unwrap();
    let shown = meshup(folder.path(), &["filter", "inspect", "--json", "a.wasm"]);
    assert_eq!(shown.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(report["imports"][0], serde_json::json!({"name": "env.f", "type": "func(i32, i64) -> i32"}));
    assert_eq!(report["exports"][0]["name"], "memory");
    assert_eq!((report["abi_version"].is_null(), report["sha256"].as_str().unwrap().len()), (true, 64));
    assert!(report["problem"].is_string());
}

#[test]
fn build_needs_a_crate() {
    let folder = tempfile::tempdir().unwrap();
    let refused = meshup(folder.path(), &["filter", "build"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("has no Cargo.toml"), "{}", told(&refused));
}

#[test]
fn check_compiles_in_a_child_and_names_the_module_that_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let mut wasm = wat::parse_str("(module (func (result i32) (i32.const 1)))").unwrap();
    // A body that ends too soon: it passes every check that comes before the compiler.
    wasm.pop();
    fs::write(folder.path().join("bad.wasm"), wasm).unwrap();
    let config = "[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n[filters.bad]\nmodule = \"bad.wasm\"\n\
        [filters.again]\nmodule = \"bad.wasm\"\n[filters.good]\nmodule = \"builtin:telemetry\"\n";
    fs::write(folder.path().join("meshup.toml"), config).unwrap();
    let checked = meshup(folder.path(), &["check", "--config", "meshup.toml"]);
    let told = told(&checked);
    assert_eq!(checked.status.code(), Some(1), "{told}");
    for name in ["bad", "again"] {
        assert!(
            told.contains(&format!("filter \"{name}\": module bad.wasm: not a valid WebAssembly module: ")),
            "{told}"
        );
    }
    assert!(!told.contains("\"good\""), "{told}");
}

#[test]
fn the_command_that_compiles_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let help = meshup(folder.path(), &["--help"]);
    assert!(!String::from_utf8_lossy(&help.stdout).contains("compile-module"));
}
