//! `meshup filter new`: a crate with a small filter, its tests and a configuration to try it.
//!
//! **Invariant:** no existing file is changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use super::{NewFilter, output};

/// The crate's files and their templates.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../templates/filter/Cargo.toml.template")),
    ("src/lib.rs", include_str!("../../templates/filter/lib.rs.template")),
    (".gitignore", include_str!("../../templates/filter/gitignore.template")),
    ("README.md", include_str!("../../templates/filter/README.md.template")),
    ("meshup.toml", include_str!("../../templates/filter/meshup.toml.template")),
];

/// Crates that the new one would be mistaken for.
const RESERVED: [&str; 9] =
    ["alloc", "core", "meshup", "meshup-abi", "meshup-sdk", "meshup-sdk-macros", "proc_macro", "std", "test"];
/// Strict and reserved keywords that fit the pattern of a crate name.
const KEYWORDS: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
];

/// Where the SDK is when this binary was built from a source tree that is still there.
const SDK_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");

pub(super) fn run(args: &NewFilter) -> anyhow::Result<()> {
    check_name(&args.name)?;
    let dir = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let sdk = sdk_dependency(args.sdk_path.as_deref())?;
    ensure!(!dir.exists(), "{} exists already: choose another name or --path", dir.display());
    for (file, template) in FILES {
        write(&dir.join(file), &filled(template, &args.name, &sdk))?;
    }
    let dir = dir.display();
    let next = "cargo test\n    meshup filter build\n    meshup run --config meshup.toml";
    output::print(format_args!("made the filter crate {dir}; now:\n\n    cd {dir}\n    {next}\n"))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits) && name.len() <= 64,
        "{name:?} is not a crate name: use at most 64 lower-case letters, digits, `-` and `_`, beginning with a letter"
    );
    let reserved = RESERVED.contains(&name) || KEYWORDS.contains(&name);
    ensure!(!reserved, "{name:?} is a reserved name: choose another one, such as \"{name}-filter\"");
    Ok(())
}

/// The right side of `meshup-sdk = ...`.
fn sdk_dependency(chosen: Option<&Path>) -> anyhow::Result<String> {
    let folder = chosen.unwrap_or(Path::new(SDK_SOURCE));
    if folder.join("Cargo.toml").is_file() {
        let folder = folder.canonicalize().with_context(|| format!("cannot resolve {}", folder.display()))?;
        return Ok(format!("{{ path = {} }}", toml::Value::from(folder.display().to_string())));
    }
    match chosen {
        Some(folder) => bail!("{} is no crate: it has no Cargo.toml", folder.display()),
        None => Ok(concat!("\"", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"), "\"").into()),
    }
}

fn filled(template: &str, name: &str, sdk: &str) -> String {
    let wasm = format!("target/wasm32-unknown-unknown/release/{}.wasm", name.replace('-', "_"));
    template.replace("{{name}}", name).replace("{{sdk}}", sdk).replace("{{wasm}}", &wasm)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, text));
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_refuses_are_refused() {
        for good in ["a", "api-key", "rate_limit2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "2fast", "-a", "A", "a b", "ä", "../a", "a/b", "std", "async", "meshup-sdk", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_placeholder_is_filled() {
        for (file, template) in FILES {
            let text = filled(template, "api-key", "\"0.1\"");
            assert!(!text.contains("{{"), "{file}");
        }
    }

    #[test]
    fn the_configuration_of_a_new_filter_is_good() {
        let (_, template) = FILES.into_iter().find(|(file, _)| *file == "meshup.toml").unwrap();
        let text = filled(template, "api-key", "");
        crate::config::parse(&text, Path::new("meshup.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    }
}
