//! The proxy that is measured.
//!
//! **Invariant:** the proxy ends with the value that stands for it.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Result;
use meshup_benches::{
    peers::Identity,
    process::{Running, free_address},
};
use rustls::pki_types::CertificateDer;

/// A running `meshup` with a listener in clear text and one with TLS.
pub(crate) struct Proxy {
    pub(crate) clear: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// What its TLS listener shows.
    pub(crate) certificate: CertificateDer<'static>,
    running: Running,
    _folder: tempfile::TempDir,
}

impl Proxy {
    pub(crate) fn start(program: &Path, origin: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (_, certificate) = Identity::self_signed(folder.path())?;
        let (clear, tls) = (free_address()?, free_address()?);
        let file = folder.path().join("meshup.toml");
        fs::write(&file, configuration(clear, tls, origin))?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file);
        let running = Running::start_on(tls, &mut command, &[])?;
        Ok(Self { clear, tls, certificate, running, _folder: folder })
    }

    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.running.resident_bytes()
    }
}

fn configuration(clear: SocketAddr, tls: SocketAddr, origin: SocketAddr) -> String {
    let limits = r#"limits = { idle_timeout = "1h", header_timeout = "1h", max_connections = 1000000 }"#;
    format!(
        r#"
        workers = 1
        admin.listen = "127.0.0.1:0"
        [[listeners]]
        name = "clear"
        listen = "{clear}"
        {limits}
        [[listeners]]
        name = "tls"
        listen = "{tls}"
        tls = {{ certificate = "server.pem", private_key = "server.key" }}
        {limits}
        [[routes]]
        upstream = "origin"
        [upstreams.origin]
        endpoints = ["{origin}"]
        "#
    )
}
