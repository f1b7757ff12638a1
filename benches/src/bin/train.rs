//! Gives a proxy the work that its release build is optimised for: `scripts/profile` runs it with a `meshup` that records
//! how often each of its branches is taken.
//!
//! Every kind of work users bring has its share, the ones they bring most the largest. What the proxy does only once, or
//! when something is wrong, stays out: unrecorded code is compiled as always.
//!
//! **Invariant:** the proxy ends in good order, for only then does it write what it recorded.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use meshup_benches::{
    in_process::HEADER_FILTER,
    load::{Clients, Handshakes, Load, Pace, Tls},
    origin,
    peers::{
        Identity, MESHUP_THREE,
        Protocol::{self, Http1, Http2},
    },
    process::{Running, free_address},
    work::Work,
};
use rustls::pki_types::CertificateDer;

/// Gives a proxy the work that its release build is optimised for.
#[derive(Parser)]
struct Arguments {
    /// The proxy.
    #[arg(long)]
    meshup: PathBuf,
    /// How much of the work.
    #[arg(long, default_value_t = 1.0)]
    share: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let (proxy, listeners, certificate) = start(&arguments.meshup, folder.path())?;
    for lesson in &LESSONS {
        let started = Instant::now();
        let requests = (lesson.requests as f64 * arguments.share) as usize;
        let address = listeners[lesson.listener as usize];
        let mut clients = Clients::connect(&lesson.load(&certificate), address).context(lesson.name)?;
        clients.run(Pace::Count(requests.max(1))).context(lesson.name)?;
        println!("{:<40} {:>6.1} s", lesson.name, started.elapsed().as_secs_f64());
    }
    proxy.end()
}

/// Where requests of one kind come in; each is a listener with its route.
#[derive(Clone, Copy)]
enum Listener {
    Plain,
    Filters,
    Service,
    Retried,
    Grpc,
    TlsPlain,
    TlsFilters,
}

/// Each listener's name, filters, upstream, and whether it has TLS, in the order of [`Listener`].
const LISTENERS: [(&str, &[&str], &str, bool); 7] = [
    ("plain", &[], "http1", false),
    ("filters", &["one", "two", "three"], "http1", false),
    ("service", &["telemetry", "check", "rewrite"], "http1", false),
    ("retried", &["telemetry", "one", "retry"], "http1", false),
    ("grpc", &[], "http2", false),
    ("tls-plain", &[], "http1", true),
    ("tls-filters", &["one", "two", "three"], "http1", true),
];

/// Requests of one kind.
struct Lesson {
    name: &'static str,
    listener: Listener,
    protocol: Protocol,
    work: Work,
    requests: usize,
}

const fn lesson(name: &'static str, listener: Listener, protocol: Protocol, work: Work, requests: usize) -> Lesson {
    Lesson { name, listener, protocol, work, requests }
}

/// Shares by what a sidecar sees: mostly small HTTP/1.1 exchanges, with and without filters.
const LESSONS: [Lesson; 11] = [
    lesson("HTTP/1.1", Listener::Plain, Http1, Work::Get, 65_000),
    lesson("HTTP/1.1, three header filters", Listener::Filters, Http1, Work::Get, 65_000),
    lesson("HTTP/1.1, telemetry, a check and a rewrite", Listener::Service, Http1, Work::Get, 65_000),
    lesson("HTTP/1.1, the same with retries", Listener::Retried, Http1, Work::Get, 15_000),
    lesson("HTTP/1.1, 1 MiB down", Listener::Plain, Http1, Work::Download, 250),
    lesson("HTTP/1.1, 1 MiB up", Listener::Plain, Http1, Work::Upload, 250),
    lesson("HTTP/1.1 over TLS", Listener::TlsFilters, Http1, Work::Get, 10_000),
    lesson("HTTP/2", Listener::Plain, Http2, Work::Get, 20_000),
    lesson("HTTP/2, three header filters", Listener::Filters, Http2, Work::Get, 10_000),
    lesson("HTTP/2 over TLS", Listener::TlsPlain, Http2, Work::Get, 5_000),
    lesson("gRPC", Listener::Grpc, Http2, Work::Grpc, 20_000),
];

impl Lesson {
    /// Sixteen requests at a time.
    fn load(&self, certificate: &CertificateDer<'static>) -> Load {
        let (_, _, _, has_tls) = LISTENERS[self.listener as usize];
        let tls = has_tls.then(|| Tls { certificate: certificate.clone(), handshakes: Handshakes::Full });
        Load { work: self.work, tls, ..Load::small(self.protocol, 16) }
    }
}

type Started = (Running, Vec<SocketAddr>, CertificateDer<'static>);

/// The proxy, its listeners' addresses, and the certificate that it shows.
fn start(program: &Path, folder: &Path) -> Result<Started> {
    let (_, certificate) = Identity::self_signed(folder)?;
    let listeners = LISTENERS.iter().map(|_| free_address()).collect::<Result<Vec<_>>>()?;
    let file = folder.join("meshup.toml");
    fs::write(&file, configuration(&listeners, origin::start(Http1)?, origin::start(Http2)?))?;
    compile_filters(program, &file, folder)?;
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(file);
    let last = *listeners.last().context("no listener")?;
    Ok((Running::start_on(last, &mut command, &[])?, listeners, certificate))
}

/// Has the filters compiled, which the proxy then finds done: that is work done once, and many functions.
fn compile_filters(program: &Path, config: &Path, folder: &Path) -> Result<()> {
    let recorded_in_vain = folder.join("check-%p.profraw");
    let mut command = Command::new(program);
    command.args(["check", "--config"]).arg(config).env("LLVM_PROFILE_FILE", recorded_in_vain);
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "meshup check: {status}");
    Ok(())
}

fn configuration(addresses: &[SocketAddr], http1: SocketAddr, http2: SocketAddr) -> String {
    let listeners = LISTENERS.iter().zip(addresses).map(|((name, filters, upstream, has_tls), address)| {
        let tls = if *has_tls { "tls = { certificate = \"server.pem\", private_key = \"server.key\" }\n" } else { "" };
        format!(
            "[[listeners]]\nname = \"{name}\"\nlisten = \"{address}\"\n{tls}\
             [[routes]]\nmatch = {{ listener = \"{name}\" }}\nfilters = {filters:?}\nupstream = \"{upstream}\"\n"
        )
    });
    let alike = ["one", "two", "three"].map(|name| (name, HEADER_FILTER));
    let filters = alike.into_iter().chain(MESHUP_THREE).map(|(name, table)| format!("[filters.{name}]\n{table}\n"));
    let filters: String = filters.collect();
    format!(
        "workers = 1\nadmin.listen = \"127.0.0.1:0\"\n{}{filters}\
         [filters.retry]\nmodule = \"builtin:retry\"\n\
         [upstreams.http1]\nendpoints = [\"{http1}\"]\n\
         [upstreams.http2]\nendpoints = [\"{http2}\"]\nprotocol = \"http2\"\n",
        listeners.collect::<String>()
    )
}
