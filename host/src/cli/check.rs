//! `meshup check`: everything a start would find wrong, without starting.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{ConfigFile, output};
use crate::{
    Source, reload,
    wasm::{Compiler, Runtime, RuntimeOptions},
};

pub(super) fn run(args: &ConfigFile) -> anyhow::Result<ExitCode> {
    let runtime = Runtime::new(RuntimeOptions { compiler: Compiler::this_program(), ..RuntimeOptions::default() })?;
    match reload::check(&runtime, &Source::File(args.config.clone())) {
        Ok((config, expired)) => {
            for certificate in expired {
                let _ = writeln!(io::stderr(), "warning: the certificate {} has expired", certificate.display());
            }
            let found = [config.listeners.len(), config.routes.len(), config.filters.len(), config.upstreams.len()];
            let [listeners, routes, filters, upstreams] = found;
            output::print(format_args!(
                "{}: ok ({listeners} listeners, {routes} routes, {filters} filters, {upstreams} upstreams)\n",
                args.config.display(),
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            // Not `eprintln!`, which panics when the reader has gone: `meshup check ... 2>&1 | head`.
            let _ = writeln!(io::stderr(), "{faults}");
            Ok(ExitCode::FAILURE)
        }
    }
}
