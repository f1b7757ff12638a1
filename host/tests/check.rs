//! What `meshup check` says, pinned: `check/bad_*.toml` beside `check/bad_*.err`. Unlike those in `config/`, these have
//! faults that only a module or a filter can tell.
//!
//! `UPDATE_GOLDEN=1 cargo test -p meshup --test check` writes the `.err` files anew; read the difference.

use std::{env, fs, path::Path, process::Command};

#[test]
fn faults_of_the_text_of_modules_and_of_filters_are_told_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    let mut check = Command::new(env!("CARGO_BIN_EXE_meshup"));
    let checked = check.args(["check", "--config", "bad_everywhere.toml"]).current_dir(&folder).output().unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    let golden = folder.join("bad_everywhere.err");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(&golden).unwrap_or_default());
    assert_eq!(checked.status.code(), Some(1));
}
