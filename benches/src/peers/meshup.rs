//! meshup itself.
//!
//! It can do every setup whose filters are Wasm, and none. The three filters are those that it brings: `access` is the
//! check (`api-key` would compare digests and answer 401), and `telemetry` keeps histograms of body sizes beside that of
//! durations, which the peers' does not.
//!
//! **Invariant:** nothing is turned off that is on by default, but the lines that tell of its start and end.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{CONNECTIONS, Filters, Identity, Peer, Protocol, Setup, told};
use crate::modules;

pub(super) const NAME: &str = "meshup";

pub(super) fn present(program: &Path, folder_for_builds: &Path) -> Option<Peer> {
    if !program.is_file() {
        eprintln!("{} is not built and is left out: make release", program.display());
        return None;
    }
    let module = told(NAME, modules::meshup_filter(folder_for_builds));
    Some(Peer { name: NAME, program: program.into(), version: "--version", module, can, command })
}

fn can(setup: &Setup) -> bool {
    !matches!(setup.filters, Filters::Directives | Filters::Lua)
}

fn command(peer: &Peer, setup: &Setup) -> Result<Command> {
    let file = setup.write("meshup.toml", &configuration(setup, &chain(peer, setup.filters)?))?;
    let mut command = Command::new(&peer.program);
    command.args(["run", "--config"]).arg(file).env("RUST_LOG", "warn");
    Ok(command)
}

/// Each filter's name, and what stands in its table.
fn chain(peer: &Peer, filters: Filters) -> Result<Vec<(String, String)>> {
    let of_its_own = |count, verdict| -> Result<Vec<_>> {
        let module: PathBuf = peer.module()?.into();
        let table = format!("module = {:?}\nconfig = {{ verdict = \"{verdict}\" }}", module.display().to_string());
        Ok((1..=count).map(|number| (format!("{verdict}-{number}"), table.clone())).collect())
    };
    match filters {
        Filters::None | Filters::Directives | Filters::Lua => Ok(Vec::new()),
        Filters::Wasm => Ok(THREE.map(|(name, table)| (name.into(), table.into())).into()),
        Filters::Headers(count) => of_its_own(count, "headers"),
        Filters::Pass(count) => of_its_own(count, "pass"),
    }
}

/// The three filters, outermost first: each one's name, and what stands in its table.
pub const THREE: [(&str, &str); 3] = [
    ("telemetry", "module = \"builtin:telemetry\""),
    (
        "check",
        "module = \"builtin:access\"
config.rules = [{ action = \"allow\", headers = { x-api-key = \"open-sesame\" } }]",
    ),
    (
        "rewrite",
        "module = \"builtin:rewrite\"
config.strip_prefix = \"/v1\"
config.path_prefix = \"/api/v1\"
config.request_headers = { set = { x-zone = \"eu-1\" }, remove = [\"upgrade-insecure-requests\"] }
config.response_headers = { set = { x-served-by = \"meshup\" } }",
    ),
];

/// Its file for this setup, with these filters: each one's name, and what stands in its table.
#[must_use]
pub fn configuration(setup: &Setup, chain: &[(String, String)]) -> String {
    let Setup { listen, origin, workers, .. } = setup;
    let filters: String = chain.iter().map(|(name, table)| format!("[filters.{name}]\n{table}\n")).collect();
    let names: Vec<&String> = chain.iter().map(|(name, _)| name).collect();
    let tls = setup.tls.as_ref().map(tls).unwrap_or_default();
    let protocol = match setup.up {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
    };
    format!(
        "workers = {workers}
[admin]
listen = \"127.0.0.1:0\"
[[listeners]]
name = \"http\"
listen = \"{listen}\"
limits = {{ idle_timeout = \"1h\" }}
{tls}
{filters}
[[routes]]
name = \"all\"
match = {{ path_prefix = \"/\" }}
filters = {names:?}
upstream = \"origin\"
[upstreams.origin]
endpoints = [\"{origin}\"]
max_connections = {CONNECTIONS}
protocol = \"{protocol}\"
"
    )
}

fn tls(identity: &Identity) -> String {
    let (certificate, key) = (identity.certificate.display(), identity.private_key.display());
    format!("tls = {{ certificate = \"{certificate}\", private_key = \"{key}\" }}")
}
