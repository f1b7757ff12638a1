//! Figures that are committed, and what is measured is compared with.
//!
//! **Invariant:** an error names the file.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Reads what was committed.
///
/// # Errors
///
/// There is no such file, or it holds something else.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    toml::from_str(&text).with_context(|| file.display().to_string())
}

/// Commits these, under a comment.
///
/// # Errors
///
/// The file cannot be written.
pub fn write<T: Serialize>(file: &Path, comment: &str, figures: &T) -> Result<()> {
    let text = comment.to_owned() + &toml::to_string(figures)?;
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// A line for each figure that is committed, though nothing of its name was measured.
pub fn unmeasured<T>(committed: &BTreeMap<String, T>, now: &BTreeMap<String, T>) -> String {
    let left = committed.keys().filter(|name| !now.contains_key(*name));
    left.map(|name| format!("{name}: a committed figure, but no measurement\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_nothing_was_measured_for_is_named() {
        let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), ())).collect();
        assert_eq!(unmeasured(&all(&["a", "b"]), &all(&["b", "c"])), "a: a committed figure, but no measurement\n");
    }
}
