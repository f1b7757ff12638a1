//! The bundled filters, as WebAssembly modules inside this crate.
//!
//! Its build script compiles every filter crate beside it for wasm32-unknown-unknown and embeds the result. No filter
//! code runs natively here, and nothing is known of what a filter does.
//!
//! **Invariant:** every name in [`NAMES`] has a module.
//!
//! ```
//! for name in meshup_filters::NAMES {
//!     let module = meshup_filters::builtin(name).unwrap();
//!     assert!(module.starts_with(b"\0asm"));
//! }
//! assert!(meshup_filters::builtin("no-such-filter").is_none());
//! ```

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The module of the bundled filter `name`, as in `module = "builtin:NAME"`.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    NAMES.iter().zip(MODULES).find_map(|(known, module)| (*known == name).then_some(*module))
}
