//! Guest events: a whole exchange with one filter for every kind of verdict, from taking the filter's instance to leaving it.
//!
//! Each goes the way of a request: the message is written into guest memory, the guest is called, its answer is read and
//! its changes are made to a head. Waiting, for a body, an upstream or the clock, takes no time here.
//!
//! **Invariant:** the guest gives the verdicts that are listed, or the run ends.

use std::{cell::RefCell, rc::Rc};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use http::{HeaderMap, HeaderValue};
use meshup::{bench, config::Isolation, wasm::WorkerFilter};
use meshup_abi::{Event, Fields, Overflow, SliceSink, Verdict, Writer, tag};
use meshup_benches::work::{HEADERS, NAME, SMALL_PATH};

use crate::guests;

/// An event and the verdict that answers it.
type Turn = (Event, u16, Verdict);

type Message<'a, 'b> = Writer<'a, SliceSink<'b>>;

/// By the name of what `benches/filter` is told to do.
const VERDICTS: [(&str, &[Turn]); 9] = [
    ("pass", &[(Event::Request, 0, Verdict::Pass)]),
    ("headers", &[(Event::Request, 0, Verdict::Pass)]),
    ("respond", &[(Event::Request, 0, Verdict::Respond)]),
    // One is not answered without the other.
    ("run-deliver", &[(Event::Request, 0, Verdict::Run), (Event::Response, 200, Verdict::Deliver)]),
    (
        "again",
        &[
            (Event::Request, 0, Verdict::Run),
            (Event::Response, 503, Verdict::Run),
            (Event::Response, 200, Verdict::Deliver),
        ],
    ),
    ("body", &[(Event::Request, 0, Verdict::Body), (Event::Body, 0, Verdict::Pass)]),
    ("fetch", &[(Event::Request, 0, Verdict::Fetch), (Event::Fetched, 200, Verdict::Pass)]),
    ("sleep", &[(Event::Request, 0, Verdict::Sleep), (Event::Slept, 0, Verdict::Pass)]),
    ("end", &[(Event::Request, 0, Verdict::Pass), (Event::End, 200, Verdict::Done)]),
];

/// Bundled filters: their names, configurations and turns.
const BUNDLED: [(&str, &str, &[Turn]); 4] = [
    (
        "rewrite",
        r#"{"request_headers": {"set": {"x-zone": "eu-1"}, "remove": ["priority"]}, "response_headers": {"set": {"x-a": "b"}}}"#,
        &[(Event::Request, 0, Verdict::Pass)],
    ),
    (
        "api-key",
        r#"{"keys": {"alice": "sha256:a71a7c7011f53a1bab3642ec2ce12593f05230ace8de1e3e7645f69efac1443d"}}"#,
        &[(Event::Request, 0, Verdict::Respond)],
    ),
    (
        "access",
        r#"{"rules": [{"action": "allow", "methods": ["GET"], "path_prefix": "/v1"}]}"#,
        &[(Event::Request, 0, Verdict::Pass)],
    ),
    ("retry", "{}", &[(Event::Request, 0, Verdict::Run), (Event::Response, 200, Verdict::Deliver)]),
];

pub(crate) fn run(criterion: &mut Criterion) {
    let runtime = guests::runtime();
    let module = runtime.load(&guests::verdicts()).expect("benches/filter");
    let mut group = criterion.benchmark_group("events");
    for (verdict, turns) in VERDICTS {
        let config = format!(r#"{{"verdict": "{verdict}"}}"#);
        let filter = guests::filter(&runtime, module.clone(), &config, Isolation::Worker);
        measure(&mut group, verdict, &filter, turns);
    }
    for (name, config, turns) in BUNDLED {
        let module = runtime.load(guests::builtin(name)).expect("a bundled filter");
        let filter = guests::filter(&runtime, module, config, Isolation::Worker);
        measure(&mut group, &format!("builtin:{name}"), &filter, turns);
    }
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, filter: &Rc<WorkerFilter>, turns: &[Turn]) {
    let exchange = Exchange::new();
    exchange.check(filter, turns);
    group.bench_function(name, |bencher| bencher.iter(|| exchange.run(filter, turns)));
}

/// One exchange, again and again.
struct Exchange {
    request: Vec<u8>,
    response: Vec<u8>,
    body: Vec<u8>,
    headers: RefCell<HeaderMap>,
}

const RESPONSE: [(&str, &str); 4] =
    [("server", "origin"), ("content-type", "text/plain"), ("content-length", "1024"), ("cache-control", "no-store")];
/// No message here is longer.
const ROOM: usize = 2048;

impl Exchange {
    fn new() -> Self {
        let start = [(tag::METHOD, "GET"), (tag::SCHEME, "http"), (tag::AUTHORITY, NAME), (tag::PATH, SMALL_PATH)];
        let mut request = Vec::new();
        for (tag, value) in start {
            Writer::new(&mut request).bytes(tag, value.as_bytes()).expect("a field");
        }
        put(&mut request, &HEADERS);
        let mut response = Vec::new();
        put(&mut response, &RESPONSE);
        let headers =
            HEADERS.iter().map(|&(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
        Self { request, response, body: vec![b'x'; 1024], headers: RefCell::new(headers.collect()) }
    }

    fn write(&self, (event, status, _): Turn, message: &mut Message<'_, '_>) -> Result<(), Overflow> {
        if status > 0 {
            message.u16(tag::STATUS, status)?;
        }
        match event {
            Event::Request => message.fields(&self.request),
            Event::Response | Event::Fetched => message.fields(&self.response),
            Event::Body => message.bytes(tag::DATA, &self.body),
            _ => Ok(()),
        }
    }

    fn run(&self, filter: &Rc<WorkerFilter>, turns: &[Turn]) {
        let ticket = filter.enter().expect("an instance");
        for &turn in turns {
            let read = |answer: &[u8]| match turn.0 {
                Event::End => Ok(()),
                event => bench::apply(event, answer, &mut self.headers.borrow_mut()),
            };
            ticket.call(turn.0, &mut None, ROOM, |message| self.write(turn, message), read).expect("an answer");
        }
    }

    /// The verdicts are the expected ones.
    fn check(&self, filter: &Rc<WorkerFilter>, turns: &[Turn]) {
        let ticket = filter.enter().expect("an instance");
        for &turn in turns.iter().filter(|(event, ..)| *event != Event::End) {
            let read = |answer: &[u8]| Fields::of_answer(answer).map(|(verdict, _)| verdict);
            let verdict = ticket.call(turn.0, &mut None, ROOM, |message| self.write(turn, message), read);
            assert_eq!(verdict.expect("an answer"), turn.2);
        }
        let end = (Event::End, 200, Verdict::Done);
        let read = |_: &[u8]| Ok::<_, Overflow>(());
        ticket.call(end.0, &mut None, ROOM, |message| self.write(end, message), read).expect("an end");
    }
}

fn put(message: &mut Vec<u8>, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        Writer::new(message).pair(tag::HEADER, name.as_bytes(), value.as_bytes()).expect("a field");
    }
}
