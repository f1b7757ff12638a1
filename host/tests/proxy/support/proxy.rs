//! The proxy under test.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use meshup::{
    App, Options, Source, StartError,
    observe::{LogFormat, init_logging},
    wasm::Compiler,
};

use super::{Origin, Protocol};

/// What every configuration begins with unless it names listeners itself.
const BEGINNING: &str = r#"
workers = 1
[[listeners]]
name = "http"
listen = "127.0.0.1:0"
"#;
const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// A running proxy; dropping it ends it.
pub(crate) struct Proxy {
    app: App,
}

impl Proxy {
    /// A proxy of this configuration, to which an admin address and, where it names none, a listener are added.
    pub(crate) fn start(config: &str) -> Self {
        Self::try_start(config).unwrap_or_else(|error| panic!("{error}\n{config}"))
    }

    /// The same, or why it cannot start.
    pub(crate) fn try_start(config: &str) -> Result<Self, StartError> {
        static LOG: std::sync::Once = std::sync::Once::new();
        // nextest shows what a test logged when it failed.
        if ["RUST_LOG", "NEXTEST"].iter().any(|name| std::env::var_os(name).is_some()) {
            LOG.call_once(|| init_logging(LogFormat::Text));
        }
        let beginning = if config.contains("[[listeners]]") { "" } else { BEGINNING };
        let source = Source::Text(format!("{beginning}{config}\n{ADMIN}"));
        App::start(Options { source, cache_dir: Some(cache_dir()), compiler: Compiler::InProcess, watch_files: false })
            .map(Self::of)
    }

    pub(crate) fn of(app: App) -> Self {
        Self { app }
    }

    /// A proxy with one route to one origin.
    pub(crate) fn before(origin: &Origin, protocol: Protocol) -> Self {
        Self::start(&format!("{ROUTE}{}", upstream("origin", protocol, &[origin.address])))
    }

    /// The first listener's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.app.listeners()[0].1
    }

    pub(crate) fn app(&self) -> &App {
        &self.app
    }
}

/// A route for everything to the upstream `origin`.
pub(crate) const ROUTE: &str = "[[routes]]\nupstream = \"origin\"\n";

/// An upstream; more keys may follow it.
pub(crate) fn upstream(name: &str, protocol: Protocol, endpoints: &[SocketAddr]) -> String {
    let mut text = format!("[upstreams.{name}]\nprotocol = \"{}\"\nendpoints = [", protocol.name());
    for endpoint in endpoints {
        let _ = write!(text, "\"{endpoint}\", ");
    }
    text + "]\n"
}

/// Compiled filters are kept between tests.
pub(super) fn cache_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled-filters")
}
