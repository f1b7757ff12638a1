//! The proxies that take part, and the configuration that makes them do the same work.
//!
//! Common to all: connections that are kept alive on both sides without an end, `X-Forwarded-For`, `-Proto` and `-Host`
//! set, no access log, bodies of any size passed on as they come. Beyond that each is set up as its own handbook advises
//! for speed; where something is chosen that its makers do not choose by default, the reason stands beside it.
//!
//! **Invariant:** no peer does less than meshup does by default; where one cannot, its file says what is missing.

mod caddy;
mod envoy;
mod haproxy;
mod install;
mod meshup;
mod nginx;
mod traefik;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;

pub use self::meshup::{THREE as MESHUP_THREE, configuration as meshup_configuration};
use crate::{
    process::{self, Running},
    work::NAME,
};

/// What the proxies that have to know in advance provide for; the system's limit on open files has to allow it.
const CONNECTIONS: usize = 9_000;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; in clear text, from the first byte on.
    Http2,
}

/// The work beside forwarding, and by which of its means a proxy does it.
///
/// There are three filters, outermost first:
///
/// - telemetry counts requests by method and status, keeps a histogram of their duration, continues or begins a trace
///   (`traceparent`), and gives requests without `x-request-id` one;
/// - the check answers 403 unless the request says `x-api-key: open-sesame`;
/// - the rewrite makes `/v1/` at the beginning of the path into `/api/v1/`, sets `x-zone: eu-1` and removes
///   `upgrade-insecure-requests`, and sets `x-served-by: NAME` on the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filters {
    /// None of it.
    None,
    /// By directives of its own.
    Directives,
    /// By Lua.
    Lua,
    /// By three Wasm filters.
    Wasm,
    /// Not the three, but so many Wasm filters in sequence that each read three headers of the request, write two
    /// (`x-browser`, `x-zone`) and write one of the response (`x-served-by`).
    Headers(usize),
    /// Not the three, but so many Wasm filters in sequence that only pass.
    Pass(usize),
}

/// The files of a certificate, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub private_key: PathBuf,
}

impl Identity {
    /// One for every name that clients here ask for, in `folder`; with the certificate, for them to trust.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn self_signed(folder: &Path) -> Result<(Self, CertificateDer<'static>)> {
        let names = [NAME, "localhost", "127.0.0.1"].map(str::to_owned);
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
        let identity = Self { certificate: folder.join("server.pem"), private_key: folder.join("server.key") };
        fs::write(&identity.certificate, cert.pem())?;
        fs::write(&identity.private_key, signing_key.serialize_pem())?;
        Ok((identity, cert.into()))
    }
}

/// What a proxy is to do.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it forwards to, in clear text.
    pub origin: SocketAddr,
    /// What clients speak.
    pub down: Protocol,
    /// What the origin speaks.
    pub up: Protocol,
    /// With it, clients come by TLS, and choose by ALPN what they speak.
    pub tls: Option<Identity>,
    /// The work beside forwarding.
    pub filters: Filters,
    /// Threads that serve.
    pub workers: usize,
    /// An empty folder for its files.
    pub folder: PathBuf,
}

impl Setup {
    /// To forward from HTTP/1.1 to HTTP/1.1, in clear text and by one thread.
    pub fn plain(listen: SocketAddr, origin: SocketAddr, folder: &Path) -> Self {
        let (down, up) = (Protocol::Http1, Protocol::Http1);
        Self { listen, origin, down, up, tls: None, filters: Filters::None, workers: 1, folder: folder.into() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let file = self.file(name);
        fs::write(&file, content).with_context(|| format!("{}", file.display()))?;
        Ok(file)
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// One proxy.
pub struct Peer {
    /// What tables call it; what it says in `x-served-by`.
    pub name: &'static str,
    program: PathBuf,
    /// The argument that makes it say its version.
    version: &'static str,
    /// The Wasm module beside those it brings itself.
    module: Option<PathBuf>,
    can: fn(&Setup) -> bool,
    command: fn(&Peer, &Setup) -> Result<Command>,
}

impl Peer {
    /// Its name, with its version if it says one.
    #[must_use]
    pub fn title(&self) -> String {
        let said = process::said_soon(Command::new(&self.program).arg(self.version)).unwrap_or_default();
        let version = version_in(&said).map(|version| format!(" {version}"));
        format!("{}{}", self.name, version.unwrap_or_default())
    }

    /// Whether it can do this work.
    pub fn can(&self, setup: &Setup) -> bool {
        let needs_module = match setup.filters {
            Filters::Headers(_) | Filters::Pass(_) => true,
            Filters::Wasm => self.name != meshup::NAME,
            Filters::None | Filters::Directives | Filters::Lua => false,
        };
        (self.can)(setup) && (self.module.is_some() || !needs_module)
    }

    /// Starts it on one core and waits until it serves. `None` where it cannot do this work.
    pub fn start(&self, setup: &Setup, core: usize) -> Result<Option<Running>> {
        if !self.can(setup) {
            return Ok(None);
        }
        let mut command = (self.command)(self, setup)?;
        let running = Running::start_on(setup.listen, &mut command, &[core])?;
        if self.name == traefik::NAME {
            traefik::wait_until_ready(setup)?;
        }
        Ok(Some(running))
    }

    fn module(&self) -> Result<&Path> {
        self.module.as_deref().context("its Wasm module was not built")
    }
}

/// The peers on this machine, meshup last; says of each other one how to get it. Builds the Wasm filters that are
/// measured, in `folder_for_builds`.
pub fn present(meshup: &Path, folder_for_builds: &Path) -> Vec<Peer> {
    let peers = [
        nginx::present(),
        haproxy::present(),
        envoy::present(folder_for_builds),
        caddy::present(),
        traefik::present(),
        meshup::present(meshup, folder_for_builds),
    ];
    peers.into_iter().flatten().collect()
}

/// The first digits with dots among them, behind the word `version` where it is said: a program may name its own path
/// before.
fn version_in(text: &str) -> Option<&str> {
    let said = ["Version: ", "version: ", "version "].into_iter().find_map(|word| text.split_once(word));
    let text = said.map_or(text, |(_, behind)| behind);
    let numbers = text.split(|char: char| !char.is_ascii_digit() && char != '.').map(|number| number.trim_matches('.'));
    numbers.into_iter().find(|number| number.contains('.'))
}

/// nginx alone, if it is here.
pub fn nginx() -> Option<Peer> {
    nginx::present()
}

/// A module that was built, or none, and why not on stderr.
fn told<T>(name: &str, built: Result<T>) -> Option<T> {
    built.inspect_err(|error| eprintln!("the filters of {name} are left out: {error:#}")).ok()
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_found_among_what_programs_say() {
        for (said, version) in [
            ("nginx version: nginx/1.22.1\n", Some("1.22.1")),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17", Some("2.6.12")),
            ("/opt/versions/3.11.7/bin/envoy  version: 9e5580933739775e/1.40.0/Clean/RELEASE", Some("1.40.0")),
            ("Version:      3.7.15\nCodename:     saintnectaire\nGo version:   go1.26.9", Some("3.7.15")),
            ("v2.11.7 h1:yj0Y4fY=", Some("2.11.7")),
            ("nothing. At 5 o'clock", None),
        ] {
            assert_eq!(version_in(said), version, "{said}");
        }
    }
}
