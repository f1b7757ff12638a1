//! The way to a connection: which endpoint is next, and one of its idle connections out of the pool and back.
//!
//! **Invariant:** the connection is there before anything is timed.

use std::net::{Ipv4Addr, SocketAddr};

use criterion::{BenchmarkId, Criterion};
use meshup::bench::Upstream;

use crate::generations;

const ENDPOINTS: [usize; 4] = [1, 10, 100, 1000];

pub(crate) fn run(criterion: &mut Criterion) {
    for policy in ["least_request", "round_robin", "random"] {
        let mut group = criterion.benchmark_group(format!("upstreams/pick {policy}"));
        for count in ENDPOINTS {
            let upstream = upstream(&format!("load_balancing = \"{policy}\"\nendpoints = {:?}", endpoints(count)));
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| bencher.iter(|| upstream.pick()));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(pool(criterion));
}

async fn pool(criterion: &mut Criterion) {
    let upstream = upstream(&format!("endpoints = [\"{}\"]", origin()));
    assert!(upstream.connect().await, "the origin answers");
    assert!(upstream.take_and_give_back());
    criterion.bench_function("upstreams/pool out and back", |bencher| bencher.iter(|| upstream.take_and_give_back()));
}

fn upstream(settings: &str) -> Upstream {
    let text = format!("[[routes]]\nupstream = \"measured\"\n[upstreams.measured]\n{settings}\n");
    generations::worker(&text).upstream("measured").expect("an upstream")
}

fn endpoints(count: usize) -> Vec<String> {
    let address = |number: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + number as u16)).to_string();
    (0..count).map(address).collect()
}

/// Answers one request, without a body, and keeps the connection.
fn origin() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 4096];
        while stream.read(&mut request)? > 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        std::io::Result::Ok(())
    });
    address
}
