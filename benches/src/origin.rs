//! The origin behind the proxies, as cheap as it can be; in a process of its own, unless times are what counts.
//!
//! HTTP/1.1 without a library: it finds the ends of heads and bodies, and answers. HTTP/2 by hyper. A path that ends in
//! `large` is answered with 1 MiB, everything else with 1 KiB; a gRPC call with its own message and a good status.
//!
//! **Invariant:** one answer per request, in order, after the whole request.

mod http1;
mod http2;

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::mpsc,
    thread,
};

use anyhow::{Context, Result, bail};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinSet};

use crate::{peers::Protocol, process::spawn};

/// An origin in a process of its own.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens; where it has more addresses, the first of them.
    pub address: SocketAddrV4,
    child: Child,
}

impl Origin {
    /// Starts `command`, a program that calls [`serve`], on a core.
    ///
    /// # Errors
    ///
    /// The program cannot be started or does not say where it listens.
    pub fn start(command: &mut Command, core: usize) -> Result<Self> {
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), &[core])?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the origin said {line:?}"))?;
        Ok(Self { address, child })
    }

    /// Its first addresses.
    pub fn addresses(&self, count: usize) -> impl Iterator<Item = SocketAddr> {
        addresses(self.address).take(count)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An origin in the thread of its clients, which serves while they send: neither of them waits for the core that the other
/// one has.
#[derive(Debug)]
pub struct Beside {
    /// Where it listens.
    pub address: SocketAddr,
    pub(crate) runtime: Rc<Runtime>,
}

impl Beside {
    /// Listens on a free address of loopback.
    ///
    /// # Errors
    ///
    /// There is no address.
    pub fn new(protocol: Protocol) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, protocol));
        Ok(Self { address, runtime: Rc::new(runtime) })
    }
}

/// Serves on a free address of loopback, by a thread of this process, for as long as it runs.
///
/// # Errors
///
/// There is no address, or no thread.
pub fn start(protocol: Protocol) -> Result<SocketAddr> {
    let (says, said) = mpsc::channel();
    thread::Builder::new().name("origin".into()).spawn(move || serve_and_say(protocol, 1, |first| says.send(first)))?;
    said.recv().context("the origin has no address").map(Into::into)
}

/// Serves on one port of so many addresses of loopback for ever; says the first on standard output.
///
/// # Errors
///
/// There is no address, or accepting fails.
pub fn serve(protocol: Protocol, count: usize) -> Result<()> {
    serve_and_say(protocol, count, |first| {
        println!("{first}");
        std::io::stdout().flush()
    })
}

fn serve_and_say<E>(protocol: Protocol, count: usize, say: impl FnOnce(SocketAddrV4) -> Result<(), E>) -> Result<()>
where
    E: Error + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let SocketAddr::V4(address) = first.local_addr()? else { bail!("an address of IPv6") };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(first, protocol));
        for address in addresses(address).take(count).skip(1) {
            accepting.spawn(accept(TcpListener::bind(address).await?, protocol));
        }
        say(address)?;
        accepting.join_next().await.context("no listener")??
    })
}

/// The same port of one address of loopback after the other.
fn addresses(first: SocketAddrV4) -> impl Iterator<Item = SocketAddr> {
    let base = first.ip().to_bits();
    (0..).map(move |number| (Ipv4Addr::from_bits(base + number), first.port()).into())
}

async fn accept(listener: TcpListener, protocol: Protocol) -> Result<()> {
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        // A proxy that goes away resets its connections: nothing to report.
        match protocol {
            Protocol::Http1 => tokio::spawn(async move { http1::answer(connection).await.ok() }),
            Protocol::Http2 => tokio::spawn(async move { http2::answer(connection).await.ok() }),
        };
    }
}
