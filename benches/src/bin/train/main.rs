//! Gives a proxy the work that its release build is optimised for: `scripts/profile` runs it with a `meshup` that records
//! how often each of its branches is taken.
//!
//! Every kind of work users bring has its share, the ones they bring most the largest. What the proxy does only once, or
//! when something is wrong, stays out: unrecorded code is compiled as always.
//!
//! **Invariant:** the proxy ends in good order, for only then does it write what it recorded.

mod load;
mod origin;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rcgen::CertifiedKey;
use rustix::process::{Pid, Signal, kill_process};

use crate::load::{Client, Protocol, Work};

const DEADLINE: Duration = Duration::from_secs(60);

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let certificate = rcgen::generate_simple_self_signed([load::NAME.to_owned()])?;
        let origins = [origin::start(Protocol::Http1).await?, origin::start(Protocol::Http2).await?];
        let mut proxy = Proxy::start(&arguments.meshup, folder.path(), &certificate, origins)?;
        let client = Client::new(proxy.plain, proxy.tls, certificate.cert.der().clone());
        for work in &WORK {
            let started = Instant::now();
            client.run(work, arguments.share).await.with_context(|| work.name.to_owned())?;
            println!("{:<40} {:>6.1} s", work.name, started.elapsed().as_secs_f64());
        }
        proxy.end()
    })
}

/// Shares by what a sidecar sees: mostly small HTTP/1.1 exchanges, with and without filters.
const WORK: [Work; 11] = [
    Work::new("HTTP/1.1", Protocol::Http1, "/plain").times(60_000),
    Work::new("HTTP/1.1, three header filters", Protocol::Http1, "/filters").times(60_000),
    Work::new("HTTP/1.1, all filters of a service", Protocol::Http1, "/service").times(20_000),
    Work::new("HTTP/1.1, posts", Protocol::Http1, "/plain/echo").sending(4096).times(10_000),
    Work::new("HTTP/1.1, 1 MiB down", Protocol::Http1, "/plain/large").times(200),
    Work::new("HTTP/1.1, 1 MiB up", Protocol::Http1, "/plain").sending(1 << 20).times(200),
    Work::new("HTTP/1.1 over TLS", Protocol::Http1, "/filters").over_tls().times(10_000),
    Work::new("HTTP/2", Protocol::Http2, "/plain").times(20_000),
    Work::new("HTTP/2, three header filters", Protocol::Http2, "/filters").times(10_000),
    Work::new("HTTP/2 over TLS", Protocol::Http2, "/plain").over_tls().times(5_000),
    Work::new("gRPC", Protocol::Http2, "/grpc").sending(64).times(20_000),
];

/// The proxy at work.
struct Proxy {
    child: Child,
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Proxy {
    fn start(program: &Path, folder: &Path, certificate: &Certificate, origins: [SocketAddr; 2]) -> Result<Self> {
        std::fs::write(folder.join("server.pem"), certificate.cert.pem())?;
        std::fs::write(folder.join("server.key"), certificate.signing_key.serialize_pem())?;
        let (plain, tls) = (free_address()?, free_address()?);
        let file = folder.join("meshup.toml");
        std::fs::write(&file, configuration([plain, tls], origins))?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(file).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let mut proxy = Self { child, plain, tls };
        proxy.wait_until_it_accepts()?;
        Ok(proxy)
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(self.tls).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the proxy ended at once: {status}");
            }
            ensure!(started.elapsed() < DEADLINE, "the proxy does not listen after {DEADLINE:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the proxy ended with {status}");
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        self.child.kill().ok();
    }
}

type Certificate = CertifiedKey<rcgen::KeyPair>;

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn configuration([plain, tls]: [SocketAddr; 2], [http1, http2]: [SocketAddr; 2]) -> String {
    let filters = ["one", "two", "three"].map(|name| format!("[filters.{name}]\n{HEADER_FILTER}\n")).concat();
    format!(
        "workers = 1
[admin]
listen = \"127.0.0.1:0\"
[[listeners]]
name = \"plain\"
listen = \"{plain}\"
[[listeners]]
name = \"tls\"
listen = \"{tls}\"
tls = {{ certificate = \"server.pem\", private_key = \"server.key\" }}
{filters}
[filters.telemetry]
module = \"builtin:telemetry\"
[filters.retry]
module = \"builtin:retry\"
[[routes]]
name = \"plain\"
match = {{ path_prefix = \"/plain\" }}
upstream = \"http1\"
[[routes]]
name = \"filters\"
match = {{ path_prefix = \"/filters\" }}
filters = [\"one\", \"two\", \"three\"]
upstream = \"http1\"
[[routes]]
name = \"service\"
match = {{ path_prefix = \"/service\" }}
filters = [\"telemetry\", \"one\", \"retry\"]
upstream = \"http1\"
[[routes]]
name = \"grpc\"
match = {{ path_prefix = \"/grpc\" }}
upstream = \"http2\"
[upstreams.http1]
endpoints = [\"{http1}\"]
[upstreams.http2]
endpoints = [\"{http2}\"]
protocol = \"http2\"
"
    )
}

const HEADER_FILTER: &str = "module = \"builtin:rewrite\"
config.request_headers = { set = { x-zone = \"eu-1\" }, remove = [\"upgrade-insecure-requests\"] }
config.response_headers = { set = { x-served-by = \"meshup\" } }";
