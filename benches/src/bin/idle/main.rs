//! What an idle connection costs in memory: opens many, has each do what its kind does, and reads what the proxy's resident
//! memory grew by; then closes them and reads what stays.
//!
//! It measures a `meshup` that runs as users run it, with one worker and no filter. What the system keeps for a socket is
//! not in it. It needs a descriptor per connection, and the proxy two.
//!
//! **Invariant:** every connection is still open when the memory is read.

mod client;
mod proxy;

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use meshup_benches::{origin, peers::Protocol, process::ending};

use crate::{
    client::{Client, Kind},
    proxy::Proxy,
};

/// Connections that are opened and closed first, so that pools and allocator are in use.
const WARM_UP: u32 = 200;

#[derive(Parser)]
struct Arguments {
    /// How many connections; the proxy takes half as many as it may have file descriptors.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 5000], value_parser = clap::value_parser!(u32).range(1..))]
    connections: Vec<u32>,
    /// How long they are idle before the memory is read, and how long it is after they closed, seconds.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How often they are opened and closed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only the kinds whose name has this in it.
    #[arg(long)]
    only: Option<String>,
    /// The proxy.
    #[arg(long, default_value = "target/release/meshup")]
    meshup: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let _files = ending::with_children()?;
    let origin = origin::start(Protocol::Http1)?;
    let only = arguments.only.as_deref().unwrap_or_default();
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.name().contains(only)).collect();
    ensure!(!kinds.is_empty(), "there is no kind with {only:?} in its name");
    for kind in kinds {
        for count in &arguments.connections {
            measure(&arguments, &Proxy::start(&arguments.meshup, origin)?, kind, *count)?;
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, proxy: &Proxy, kind: Kind, count: u32) -> Result<()> {
    let client = Client::new(proxy, kind)?;
    let open = |count| (0..count).map(|_| client.open()).collect::<Result<Vec<_>>>();
    let pause = || thread::sleep(Duration::from_secs(arguments.seconds));
    drop(open(WARM_UP)?);
    pause();
    let before = proxy.resident_bytes()?;
    for _ in 0..arguments.rounds {
        let connections = open(count)?;
        pause();
        let each = proxy.resident_bytes()?.saturating_sub(before) as f64 / connections.len() as f64 / 1024.0;
        drop(connections);
        pause();
        let left = (proxy.resident_bytes()? as f64 - before as f64) / 1024.0 / 1024.0;
        println!("{:22} {count:6} connections {each:6.2} KiB each, {left:+6.2} MiB once closed", kind.name());
    }
    Ok(())
}
