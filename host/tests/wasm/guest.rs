//! Guests made of a few instructions each, and the host around them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use meshup::{
    config::{FilterLimits, Isolation, OnError},
    exchange::{ExchangeInfo, Variables},
    wasm::{
        ConfigureError, Fault, Filter, FilterSpec, Module, ModuleError, Runtime, RuntimeOptions, Ticket, WorkerFilter,
    },
};
use meshup_abi::{Event, tag};

/// The functions of a guest, in WebAssembly text. The default passes every request.
pub(crate) struct Guest {
    /// Imports, before everything else.
    pub(crate) imports: &'static str,
    pub(crate) memory: &'static str,
    pub(crate) version: &'static str,
    /// `$len` to an address.
    pub(crate) buffer: &'static str,
    /// `$len` to a packed answer.
    pub(crate) configure: &'static str,
    /// `$exchange $event $len` to a packed answer.
    pub(crate) on_event: &'static str,
    /// Anything else.
    pub(crate) rest: &'static str,
}

/// A packed answer that says Pass: 4 bytes at 16.
pub(crate) const PASS: &str = "(i64.const 0x1000000004)";

impl Default for Guest {
    fn default() -> Self {
        Self {
            imports: "",
            memory: "2",
            version: "(i32.const 1)",
            buffer: "(i32.const 4096)",
            configure: "(i64.const 0)",
            on_event: PASS,
            rest: "",
        }
    }
}

impl Guest {
    pub(crate) fn on_event(on_event: &'static str) -> Self {
        Self { on_event, ..Self::default() }
    }

    pub(crate) fn text(&self) -> String {
        let Self { imports, memory, version, buffer, configure, on_event, rest } = self;
        format!(
            r#"(module {imports}
                (memory (export "memory") {memory})
                (data (i32.const 16) "\01\00\00\00")
                (func (export "meshup_abi_version") (result i32) {version})
                (func (export "meshup_buffer") (param $len i32) (result i32) {buffer})
                (func (export "meshup_configure") (param $len i32) (result i64) {configure})
                (func $on_event (export "meshup_on_event")
                    (param $exchange i32) (param $event i32) (param $len i32) (result i64) {on_event})
                {rest})"#
        )
    }

    pub(crate) fn wasm(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    pub(crate) fn load(&self, runtime: &Runtime) -> Result<Arc<Module>, ModuleError> {
        runtime.load(&self.wasm())
    }

    pub(crate) fn filter(&self, runtime: &Arc<Runtime>) -> Result<Arc<Filter>, ConfigureError> {
        Filter::new(runtime, spec(self.load(runtime).unwrap()))
    }

    pub(crate) fn worker_filter(&self, runtime: &Arc<Runtime>) -> Rc<WorkerFilter> {
        WorkerFilter::new(self.filter(runtime).unwrap())
    }
}

pub(crate) fn runtime() -> Arc<Runtime> {
    Runtime::new(RuntimeOptions { max_instances: 16, ..RuntimeOptions::default() }).unwrap()
}

pub(crate) const LIMITS: FilterLimits = FilterLimits { memory_bytes: 1 << 20, cpu_per_call: Duration::from_millis(10) };

pub(crate) fn spec(module: Arc<Module>) -> FilterSpec {
    FilterSpec {
        name: "test".into(),
        module,
        on_error: OnError::Deny,
        isolation: Isolation::Worker,
        limits: LIMITS,
        config: "{}".into(),
        log_lines_per_second: FilterSpec::LOG_LINES_PER_SECOND,
    }
}

pub(crate) fn isolated(module: Arc<Module>) -> FilterSpec {
    FilterSpec { isolation: Isolation::Exchange, ..spec(module) }
}

pub(crate) fn info() -> Box<ExchangeInfo> {
    Box::new(ExchangeInfo {
        client: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 4711)),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
        tls: None,
        listener: "http".into(),
        route: "orders".into(),
        route_prefix: Some("/v1".into()),
        upstream: None,
        endpoint: None,
        request_id: None,
        protocol: http::Version::HTTP_2,
        started: Instant::now(),
        started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(5)),
        generation: 3,
        attempts: 0,
        variables: Variables::default(),
    })
}

/// Hands the guest a request whose path is `path` and gives back its answer.
pub(crate) fn request(ticket: &Ticket, path: &[u8]) -> Result<Vec<u8>, Fault> {
    event(ticket, Event::Request, path, &mut None)
}

pub(crate) fn event(
    ticket: &Ticket,
    event: Event,
    path: &[u8],
    info: &mut Option<Box<ExchangeInfo>>,
) -> Result<Vec<u8>, Fault> {
    ticket.call(
        event,
        info,
        path.len() + 6,
        |writer| writer.bytes(tag::PATH, path),
        |answer| Ok::<_, std::convert::Infallible>(answer.to_vec()),
    )
}

/// Enters and hands over one request.
pub(crate) fn exchange(worker_filter: &Rc<WorkerFilter>) -> Result<Vec<u8>, Fault> {
    request(&worker_filter.enter()?, b"/")
}
