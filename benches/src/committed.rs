//! Figures that are committed, and what is measured is compared with.
//!
//! **Invariant:** an error names the file.

use std::{fs, path::Path};

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
