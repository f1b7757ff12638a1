//! One turn of one proxy: start it, warm it up, load it, and read what it used.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use meshup_benches::{
    load::{Clients, Handshakes, Load, Outcome, Pace},
    origin::{Beside, Origin},
    peers::{Filters, Identity, Peer, Protocol, Setup},
    process::{Running, free_address, this_program},
    stats::median,
    turns::WARM_UP,
};
use rustls::pki_types::CertificateDer;

use crate::{LOAD_CORE, PROXY_CORE, scenario::Scenario, table::Sample};

/// What all turns share: the origins, the certificate, and how long a turn is.
pub(crate) struct Bench {
    http1: Origin,
    http2: Origin,
    identity: Identity,
    certificate: CertificateDer<'static>,
    duration: Duration,
    connections: Option<usize>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(duration: Duration, connections: Option<usize>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (identity, certificate) = Identity::self_signed(folder.path())?;
        let origin = |protocol: &str| Origin::start(this_program()?.args(["--origin", protocol]), LOAD_CORE);
        Ok(Self {
            http1: origin("http1")?,
            http2: origin("http2")?,
            identity,
            certificate,
            duration,
            connections,
            _folder: folder,
        })
    }

    fn origin(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http1 => self.http1.address.into(),
            Protocol::Http2 => self.http2.address.into(),
        }
    }

    /// One turn; `None` where the proxy cannot do that work by those means.
    pub(crate) fn measure(&self, peer: &Peer, scenario: &Scenario, filters: Filters) -> Result<Option<Sample>> {
        let folder = tempfile::tempdir()?;
        let beside = scenario.half_load.then(|| Beside::new(scenario.up)).transpose()?;
        let origin = beside.as_ref().map_or_else(|| self.origin(scenario.up), |origin| origin.address);
        let setup = Setup {
            down: scenario.down,
            up: scenario.up,
            tls: scenario.tls.map(|_| self.identity.clone()),
            filters,
            ..Setup::plain(free_address()?, origin, folder.path())
        };
        let Some(proxy) = peer.start(&setup, PROXY_CORE)? else { return Ok(None) };
        self.turn(&proxy, scenario, beside.as_ref()).map(Some)
    }

    /// With an origin `beside` the load, requests come at half the rate that the proxy can take.
    fn turn(&self, proxy: &Running, scenario: &Scenario, beside: Option<&Beside>) -> Result<Sample> {
        let load = scenario.load(&self.certificate, self.connections);
        let mut clients = match beside {
            Some(origin) => Clients::beside(origin, &load, proxy.address)?,
            None => Clients::connect(&load, proxy.address)?,
        };
        clients.run(Pace::For(WARM_UP))?;
        let pace = if beside.is_some() { self.half_load(&mut clients)? } else { Pace::For(self.duration) };
        let before = proxy.cpu_time()?;
        let outcome = clients.run(pace)?;
        let cpu = proxy.cpu_time()?.saturating_sub(before);
        ensure_handshakes(scenario, &outcome)?;
        let added_millis = beside.map(|origin| added_millis(origin, &load, pace, &outcome)).transpose()?;
        Ok(Sample {
            cpu_per_request: cpu.div_f64(outcome.requests() as f64),
            requests_per_second: outcome.per_second(),
            latency: [quiet(&outcome, 0.5), quiet(&outcome, 0.99), percentile(&outcome.latency, 0.999)],
            added_millis,
            resident_bytes: proxy.resident_bytes()?,
        })
    }

    /// Half of what it takes at most, which is measured first.
    fn half_load(&self, clients: &mut Clients) -> Result<Pace> {
        let saturated = clients.run(Pace::For(self.duration))?;
        Ok(Pace::Rate(saturated.per_second() / 2.0, self.duration))
    }
}

/// By how much 99 % of the requests are later than without a proxy, at the same pace and right after. Where the machine was
/// disturbed in between, it may be less than nothing.
fn added_millis(origin: &Beside, load: &Load, pace: Pace, outcome: &Outcome) -> Result<f64> {
    let direct = Clients::beside(origin, load, origin.address)?.run(pace)?;
    Ok(millis(quiet(outcome, 0.99)) - millis(quiet(&direct, 0.99)))
}

/// How long that share of the requests took at most; at a rate, in the median part of the time. A virtual machine loses a core
/// for milliseconds now and then, for more than one request in a hundred. What takes it from fewer than half of the parts,
/// and a proxy that stops so seldom, shows only in what is taken of all.
fn quiet(outcome: &Outcome, share: f64) -> Duration {
    let parts = outcome.parts.iter().map(|part| percentile(part, share).as_secs_f64());
    median(parts).map_or_else(|| percentile(&outcome.latency, share), Duration::from_secs_f64)
}

fn percentile(latency: &Histogram<u64>, share: f64) -> Duration {
    Duration::from_nanos(latency.value_at_quantile(share))
}

/// The unit of tables.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A proxy that resumes when it shall not, or the other way round, does other work than the rest.
fn ensure_handshakes(scenario: &Scenario, outcome: &Outcome) -> Result<()> {
    let share = outcome.resumed as f64 / outcome.requests() as f64;
    match scenario.tls {
        Some(Handshakes::Resumed) => ensure!(share > 0.9, "only {:.0} % of the sessions were resumed", share * 100.0),
        Some(Handshakes::Full) => ensure!(share == 0.0, "{:.0} % of the sessions were resumed", share * 100.0),
        None => {}
    }
    Ok(())
}
