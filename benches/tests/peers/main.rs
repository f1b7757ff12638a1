//! Every peer that is on this machine does what it claims to, in every setup.
//!
//! Absent ones are named on stderr and skipped; so is meshup where no test or build has made its binary in the same
//! profile. What the work costs is not looked at.
//!
//! **Invariant:** no figure is compared before the requests behind it are known to be the same.

mod client;
mod expectations;
mod origin;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use meshup_benches::{
    peers::{self, Filters, Identity, Peer, Protocol, Setup},
    process::free_address,
};

use crate::{client::Client, expectations::expect_everything, origin::Origin};

const CORE: usize = 0;

/// What is spoken on the way.
#[derive(Debug, Clone, Copy)]
struct Way {
    down: Protocol,
    up: Protocol,
    tls: bool,
}

const PLAIN: Way = Way { down: Protocol::Http1, up: Protocol::Http1, tls: false };
const GRPC: Way = Way { down: Protocol::Http2, up: Protocol::Http2, tls: false };
const WAYS: [Way; 6] = [
    PLAIN,
    GRPC,
    Way { down: Protocol::Http2, up: Protocol::Http1, tls: false },
    Way { down: Protocol::Http1, up: Protocol::Http2, tls: false },
    Way { down: Protocol::Http1, up: Protocol::Http1, tls: true },
    Way { down: Protocol::Http2, up: Protocol::Http1, tls: true },
];
const FILTERS: [Filters; 5] = [Filters::Directives, Filters::Lua, Filters::Wasm, Filters::Headers(2), Filters::Pass(2)];

#[test]
fn every_peer_does_what_it_claims_to() {
    let (meshup, builds) = built_here().unwrap();
    let peers = peers::present(&meshup, &builds);
    let with_filters = FILTERS.into_iter().flat_map(|filters| [(PLAIN, filters), (GRPC, filters)]);
    let trials: Vec<_> = WAYS.map(|way| (way, Filters::None)).into_iter().chain(with_filters).collect();
    let mut failures = Vec::new();
    for (peer, (way, filters)) in peers.iter().flat_map(|peer| trials.iter().map(move |trial| (peer, *trial))) {
        if let Err(error) = attempt(peer, way, filters) {
            failures.push(format!("{}: {filters:?}, {way:?}: {error:#}", peer.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What everybody can: were it not so, tables would be empty without a word.
#[test]
fn plain_forwarding_is_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let (meshup, builds) = built_here().unwrap();
    let setup = setup(PLAIN, Filters::None, "127.0.0.1:1".parse().unwrap(), folder.path()).unwrap();
    for peer in peers::present(&meshup, &builds) {
        assert!(peer.can(&setup), "{}", peer.name);
    }
}

/// The binary of this profile, and a folder for what is built beside it.
fn built_here() -> Result<(PathBuf, PathBuf)> {
    let program = std::env::current_exe()?;
    let profile = program.ancestors().nth(2).context("this test has no folder")?;
    Ok((profile.join("meshup"), profile.with_file_name("peers")))
}

fn attempt(peer: &Peer, way: Way, filters: Filters) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(way.up)?;
    let setup = setup(way, filters, origin.address, folder.path())?;
    let Some(_running) = peer.start(&setup, CORE)? else {
        eprintln!("{}: not {filters:?}, {way:?}", peer.name);
        return Ok(());
    };
    let client = Client::new(&setup)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(expect_everything(peer.name, &setup, &client, &origin))
}

fn setup(way: Way, filters: Filters, origin: std::net::SocketAddr, folder: &Path) -> Result<Setup> {
    let tls = if way.tls { Some(Identity::self_signed(folder)?.0) } else { None };
    Ok(Setup { down: way.down, up: way.up, tls, filters, ..Setup::plain(free_address()?, origin, folder) })
}
