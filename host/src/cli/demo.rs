//! `meshup demo`: a service, the proxy before it with every bundled filter, and requests to try.
//!
//! **Invariant:** everything listens on loopback, and nothing is left behind but compiled filters in the cache.

use std::{
    fs,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use tempfile::TempDir;

use super::run;
use crate::{
    App, Options, Source,
    observe::{LogFormat, init_logging},
    wasm::Compiler,
};

mod origin;

const CONFIG: &str = include_str!("demo/meshup.toml");
const REQUESTS: &str = include_str!("demo/requests.txt");

/// HS256 with the secret in the configuration: `{"iss":"meshup-demo","sub":"alice","exp":4102444800}`, until 2100.
const TOKEN: [&str; 3] = [
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
    "eyJpc3MiOiJtZXNodXAtZGVtbyIsInN1YiI6ImFsaWNlIiwiZXhwIjo0MTAyNDQ0ODAwfQ",
    "tPtthhtvDHDxO6_iYoum03C145jXyueWKwucz06oWsA",
];
/// The same claims for mallory.
const FORGED_CLAIMS: &str = "eyJpc3MiOiJtZXNodXAtZGVtbyIsInN1YiI6Im1hbGxvcnkiLCJleHAiOjQxMDI0NDQ4MDB9";

/// The addresses as the embedded configuration has them.
const PROXY: SocketAddr = loopback(8080);
const ADMIN: SocketAddr = loopback(9901);
const ORIGIN: SocketAddr = loopback(9000);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

pub(super) fn run() -> anyhow::Result<ExitCode> {
    say(
        "meshup demo: starting a service and the proxy; the first time, filters are compiled, which takes some seconds\n",
    )?;
    init_logging(LogFormat::detect());
    let folder = tempfile::Builder::new().prefix("meshup-demo-").tempdir().context("cannot make a folder")?;
    let demo = Demo::new(&folder)?;
    let options = Options {
        source: Source::File(demo.config.clone()),
        cache_dir: run::default_cache_dir(),
        compiler: Compiler::this_program(),
        watch_files: true,
    };
    run::serve(options, |app| say(&demo.requests(app)))
}

/// Where the parts of the demonstration are.
struct Demo {
    config: PathBuf,
    origin: SocketAddr,
}

impl Demo {
    /// Starts the service and writes the configuration.
    fn new(folder: &TempDir) -> anyhow::Result<Self> {
        let origin = origin::start().context("cannot start the service")?;
        let config = folder.path().join("meshup.toml");
        write_config(&config, &[(PROXY, free(PROXY)?), (ADMIN, free(ADMIN)?), (ORIGIN, origin)])?;
        Ok(Self { config, origin })
    }

    fn requests(&self, app: &App) -> String {
        let proxy = app.listeners().first().map_or(PROXY, |(_, address)| *address);
        let [head, claims, signature] = TOKEN;
        REQUESTS
            .replace("{proxy}", &proxy.to_string())
            .replace("{admin}", &app.admin().to_string())
            .replace("{origin}", &self.origin.to_string())
            .replace("{config}", &self.config.display().to_string())
            .replace("{token}", &format!("{head}.{claims}.{signature}"))
            .replace("{forged}", &format!("{head}.{FORGED_CLAIMS}.{signature}"))
    }
}

fn write_config(path: &Path, addresses: &[(SocketAddr, SocketAddr)]) -> anyhow::Result<()> {
    let replace =
        |text: String, (from, to): &(SocketAddr, SocketAddr)| text.replace(&from.to_string(), &to.to_string());
    let text = addresses.iter().fold(CONFIG.to_owned(), replace);
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The wanted address, or one with another port where that is taken.
fn free(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    // Without SO_REUSEPORT, unlike the proxy: another proxy of this user must not share the port.
    if TcpListener::bind(wanted).is_ok() {
        return Ok(wanted);
    }
    let other = TcpListener::bind((wanted.ip(), 0)).and_then(|listener| listener.local_addr());
    let other = other.context("cannot find a free port")?;
    say(&format!("port {} is taken; using port {} instead\n", wanted.port(), other.port()))?;
    Ok(other)
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_uses_every_bundled_filter() {
        let (config, _) = crate::config::parse(CONFIG, Path::new("meshup.toml")).unwrap();
        for name in meshup_filters::NAMES {
            assert!(config.filters.contains_key(*name), "{name}");
            let is_used = config.routes.iter().any(|route| route.filters.iter().any(|used| **used == **name));
            assert!(is_used, "{name}");
        }
    }

    #[test]
    fn the_configuration_has_each_address_once() {
        for address in [PROXY, ADMIN, ORIGIN] {
            assert_eq!(CONFIG.matches(&address.to_string()).count(), 1, "{address}");
        }
    }

    #[test]
    fn a_taken_port_is_replaced() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(free(taken).unwrap(), taken);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_ne!(free(listener.local_addr().unwrap()).unwrap(), listener.local_addr().unwrap());
    }
}
