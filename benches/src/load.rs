//! The load: clients that send one kind of request, and how long each took.
//!
//! At full speed a client sends the next request when it has the answer (a closed loop). At a rate, requests begin when a
//! clock says so, whatever became of those before, and each one's time counts from when it was due: a proxy that stalls
//! cannot hide it by keeping the clients waiting (coordinated omission).
//!
//! **Invariant:** a run with a single failed request is no result.

mod client;
mod connector;
mod http1;
mod pace;

use std::{
    cell::RefCell,
    mem,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use tokio::{
    runtime::Runtime,
    task::{JoinSet, LocalSet},
};

use self::{
    client::{Client, Prepared},
    connector::Connector,
    pace::Slots,
};
pub use self::{
    connector::{Handshakes, Tls},
    pace::Pace,
};
use crate::{origin::Beside, peers::Protocol, work::Work};

/// A part of the time of a load at a rate.
const PART: Duration = Duration::from_millis(100);

/// How a proxy is loaded.
#[derive(Debug, Clone)]
pub struct Load {
    /// What is asked for.
    pub work: Work,
    /// What the clients speak.
    pub protocol: Protocol,
    /// Whether they come by TLS, and how.
    pub tls: Option<Tls>,
    /// Connections that send requests.
    pub connections: usize,
    /// Requests at a time on each; more than one with HTTP/2 only.
    pub streams: usize,
    /// Whether each request has a connection of its own (HTTP/1.1 only).
    pub reconnect: bool,
    /// Connections that sent one request each and then stay idle.
    pub idle: usize,
    /// Header fields beside those that every request has (HTTP/1.1 only).
    pub more_headers: usize,
}

impl Load {
    /// Small requests, in clear text, so many at a time: each on a connection, or with HTTP/2 on a stream of one.
    pub const fn small(protocol: Protocol, at_a_time: usize) -> Self {
        let (connections, streams) = match protocol {
            Protocol::Http1 => (at_a_time, 1),
            Protocol::Http2 => (1, at_a_time),
        };
        Self { work: Work::Get, protocol, tls: None, connections, streams, reconnect: false, idle: 0, more_headers: 0 }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How long each request took, nanoseconds.
    pub latency: Histogram<u64>,
    /// The same at a rate, by the part of the time in which they were due.
    pub parts: Vec<Histogram<u64>>,
    /// How long all of it took.
    pub elapsed: Duration,
    /// Connections whose TLS session was resumed.
    pub resumed: u64,
}

impl Outcome {
    /// Requests that were answered.
    pub fn requests(&self) -> u64 {
        self.latency.len()
    }

    /// Requests answered in a second.
    pub fn per_second(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Clients that are connected to one proxy and stay so from run to run.
#[derive(Debug)]
pub struct Clients {
    runtime: Rc<Runtime>,
    connector: Connector,
    request: Rc<Prepared>,
    active: Vec<Client>,
    /// Held, not used.
    _idle: Vec<Client>,
}

impl Clients {
    /// Connects, and sends one request by each client.
    ///
    /// # Errors
    ///
    /// A connection or its first request failed.
    pub fn connect(load: &Load, address: SocketAddr) -> Result<Self> {
        Self::connect_on(Rc::new(tokio::runtime::Builder::new_current_thread().enable_all().build()?), load, address)
    }

    /// The same from the thread of an origin.
    ///
    /// # Errors
    ///
    /// A connection or its first request failed.
    pub fn beside(origin: &Beside, load: &Load, address: SocketAddr) -> Result<Self> {
        Self::connect_on(origin.runtime.clone(), load, address)
    }

    fn connect_on(runtime: Rc<Runtime>, load: &Load, address: SocketAddr) -> Result<Self> {
        ensure!(load.connections > 0 && load.streams > 0, "a load without connections");
        let connector = Connector::new(address, load)?;
        let request = Rc::new(Prepared::new(load));
        let (active, idle) = LocalSet::new().block_on(&runtime, async {
            let idle = clients(&connector, &request, load.idle, 1).await?;
            let active = clients(&connector, &request, load.connections, load.streams).await?;
            anyhow::Ok((active, idle))
        })?;
        Ok(Self { runtime, connector, request, active, _idle: idle })
    }

    /// Sends requests.
    ///
    /// # Errors
    ///
    /// A request failed.
    pub fn run(&mut self, pace: Pace) -> Result<Outcome> {
        let (started, before) = (Instant::now(), self.connector.resumed());
        let slots = Slots::new(started, pace);
        let sending = send(mem::take(&mut self.active), &self.request, slots, Latency::new(started, pace));
        let (Latency { all: latency, parts, .. }, clients) = LocalSet::new().block_on(&self.runtime, sending)?;
        self.active = clients;
        ensure!(!latency.is_empty(), "no request was answered");
        Ok(Outcome { latency, parts, elapsed: started.elapsed(), resumed: self.connector.resumed() - before })
    }

    /// Sends so many requests in rounds, one by each client: between two rounds nothing is under way, so that the same
    /// happens each time.
    ///
    /// # Errors
    ///
    /// A request failed.
    pub fn run_in_rounds(&mut self, requests: usize) -> Result<()> {
        let mut left = requests;
        while left > 0 {
            let round = left.min(self.active.len());
            self.run(Pace::Count(round))?;
            left -= round;
        }
        Ok(())
    }
}

async fn clients(connector: &Connector, request: &Prepared, connections: usize, streams: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = connector.client().await?;
        client.send(request).await.context("a first request")?;
        clients.extend((1..streams).filter_map(|_| client.another_stream()));
        clients.push(client);
    }
    Ok(clients)
}

/// Has every client send; how long their requests took, and the clients again.
async fn send(
    clients: Vec<Client>,
    request: &Rc<Prepared>,
    slots: Slots,
    latency: Latency,
) -> Result<(Latency, Vec<Client>)> {
    let (slots, latency) = (Rc::new(slots), Rc::new(RefCell::new(latency)));
    let mut sending = JoinSet::new();
    for client in clients {
        sending.spawn_local(send_all(client, request.clone(), slots.clone(), latency.clone()));
    }
    let mut clients = Vec::new();
    while let Some(ended) = sending.join_next().await {
        clients.push(ended??);
    }
    let latency = Rc::into_inner(latency).context("a client that still sends")?;
    Ok((latency.into_inner(), clients))
}

/// One request after another, until none is due any more.
async fn send_all(
    mut client: Client,
    request: Rc<Prepared>,
    slots: Rc<Slots>,
    latency: Rc<RefCell<Latency>>,
) -> Result<Client> {
    while let Some(due) = slots.next().await {
        client.send(&request).await?;
        latency.borrow_mut().record(due);
    }
    Ok(client)
}

/// How long requests took.
struct Latency {
    started: Instant,
    all: Histogram<u64>,
    parts: Vec<Histogram<u64>>,
}

impl Latency {
    fn new(started: Instant, pace: Pace) -> Self {
        let parts = match pace {
            Pace::Rate(_, time) => time.div_duration_f64(PART).ceil() as usize,
            Pace::For(_) | Pace::Count(_) => 0,
        };
        Self { started, all: histogram(), parts: vec![histogram(); parts] }
    }

    /// A request that was due then is answered now.
    fn record(&mut self, due: Instant) {
        let nanos = due.elapsed().as_nanos() as u64;
        self.all.saturating_record(nanos);
        let part = due.duration_since(self.started).div_duration_f64(PART) as usize;
        if let Some(part) = self.parts.get_mut(part) {
            part.saturating_record(nanos);
        }
    }
}

/// Of nanoseconds up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds")
}
