//! `meshup check`: everything a start would find wrong, without starting.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::ConfigFile;
use crate::{
    Source,
    reload::Builder,
    wasm::{Compiler, Runtime, RuntimeOptions},
};

pub(super) fn run(args: &ConfigFile) -> anyhow::Result<ExitCode> {
    let source = Source::File(args.config.clone());
    let checked = source.read().map(|(config, locations)| {
        let runtime = Runtime::new(RuntimeOptions { compiler: Compiler::this_program(), ..RuntimeOptions::default() })?;
        let builder = Builder { runtime, workers: config.workers };
        anyhow::Ok((builder.check(&config, &locations), config))
    });
    let faults = match checked {
        Err(faults) => faults,
        Ok(loaded) => match loaded? {
            (Err(faults), _) => faults,
            (Ok(expired), config) => {
                for certificate in expired {
                    let _ = writeln!(io::stderr(), "warning: the certificate {} has expired", certificate.display());
                }
                println!(
                    "{}: ok ({} listeners, {} routes, {} filters, {} upstreams)",
                    args.config.display(),
                    config.listeners.len(),
                    config.routes.len(),
                    config.filters.len(),
                    config.upstreams.len(),
                );
                return Ok(ExitCode::SUCCESS);
            }
        },
    };
    // Not `eprintln!`, which panics when the reader has gone: `meshup check ... 2>&1 | head`.
    let _ = writeln!(io::stderr(), "{faults}");
    Ok(ExitCode::FAILURE)
}
