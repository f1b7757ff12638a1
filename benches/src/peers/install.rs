//! Where programs are on this machine, and the line that brings those that are not.
//!
//! It installs nothing.
//!
//! **Invariant:** a program that is missing is named on stderr, once for each look.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The program of that name that a shell of root would find.
pub(super) fn found(program: &str, install: &str) -> Option<PathBuf> {
    in_path(program).or_else(|| absent(program, install))
}

/// The one that the Python package carries among its own files, or the same: what such a package puts into the `PATH` is
/// a wrapper that may stay, and would be measured with it.
pub(super) fn found_or_packaged(program: &str, inside_package: &str, install: &str) -> Option<PathBuf> {
    in_python(inside_package).or_else(|| in_path(program)).or_else(|| absent(program, install))
}

/// Servers live in sbin, which is not in everyone's PATH.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Python knows where it keeps packages: the system's, the user's, those of a virtual environment.
fn in_python(inside_package: &str) -> Option<PathBuf> {
    let output = Command::new("python3").args(["-c", "import sys; print('\\n'.join(sys.path))"]).output().ok()?;
    let folders = String::from_utf8(output.stdout).ok()?;
    folders.lines().map(|folder| Path::new(folder).join(inside_package)).find(|path| path.is_file())
}

fn absent(program: &str, install: &str) -> Option<PathBuf> {
    eprintln!("{program} is not here and is left out: {install}");
    None
}
