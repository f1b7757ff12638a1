//! A filter that does what its configuration tells it to, for the tests of the host.
//!
//! What it sees after the response is on its way goes to the shared state; a request for `/state/KEY` shows it.
//!
//! **Invariant:** one action, one thing to test.

use std::{cell::Cell, collections::BTreeMap};

use meshup_sdk::prelude::*;

/// What to do, and whether to note the end of each exchange under `end`.
#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(rename = "do")]
    action: Action,
    #[serde(default)]
    note_end: bool,
    #[serde(skip)]
    calls: Cell<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    /// Names itself in `x-passed` and passes.
    Pass(String),
    /// Passes, with changes to the response's headers ahead: set, or removed where the value is empty, and `x-ahead` added.
    Ahead(BTreeMap<String, String>),
    /// Names itself in `x-ran` of the request and of the response.
    Run(String),
    /// Runs until the status is below 500, this often at most; `x-attempt`, `x-replayable` and `x-error` tell.
    Replay(u32),
    /// Runs so many milliseconds long at most, and answers 299 itself when that is not enough.
    Deadline(u64),
    Respond,
    /// Answers with a body of so many bytes.
    RespondAtLength(usize),
    Deliver,
    /// Runs twice and returns the first response.
    ReturnFirst,
    ReadRequest(usize),
    ReadResponse(usize),
    ReplaceRequest(String),
    Fetch {
        upstream: String,
        millis: u64,
        limit: usize,
    },
    Sleep(u64),
    SetUpstream(String),
    SetTimeout(u64),
    /// Changes of the request's head; the method and path are headers of these names in upper case.
    Change(BTreeMap<String, String>),
    SetVariable(String, String),
    ShowVariable(String),
    /// Counts in the shared state.
    Count,
    Attributes,
    /// The generation on the request's and on the response's side.
    Generation,
    Loop,
    Eat,
    PanicEveryThird,
    PanicOnResponse,
    RefuseConfig,
    TrapInConfigure(Trap),
}

/// Traps when it is read.
#[derive(Debug, Deserialize)]
#[serde(try_from = "bool")]
struct Trap;

impl TryFrom<bool> for Trap {
    type Error = String;

    fn try_from(trap: bool) -> Result<Self, String> {
        assert!(!trap, "told to trap");
        Err("told to refuse".into())
    }
}

/// Notes that the exchange's future was dropped before it was done.
struct Unfinished(bool);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0 {
            let _ = state::add("cancelled", 1, None);
        }
    }
}

#[meshup_sdk::filter]
async fn scripted(config: &Config, req: Request, next: Next) -> Response {
    if let Some(key) = req.path().strip_prefix("/state/") {
        let value = state::get(key).unwrap_or_default();
        let number = value.as_slice().try_into().map(i64::from_le_bytes).map(|number| number.to_string());
        return Response::new(200).with_body(number.unwrap_or_else(|_| String::from_utf8_lossy(&value).into()));
    }
    if config.note_end {
        req.on_end(note);
    }
    let _ = state::add("begun", 1, None);
    let mut unfinished = Unfinished(true);
    let response = act(config, req, next).await;
    unfinished.0 = false;
    response
}

fn note(summary: &Summary) {
    let Summary { status, request_bytes, response_bytes, grpc_status, outcome, .. } = summary;
    let grpc = grpc_status.map_or("none".into(), |status| status.to_string());
    let upstream = if summary.upstream_duration.is_some() { "answered" } else { "silent" };
    let text = format!("{status} {request_bytes} {response_bytes} {grpc} {outcome:?} {upstream}");
    let _ = state::set("end", text, None);
    let _ = state::add("ends", 1, None);
}

async fn act(config: &Config, mut req: Request, next: Next) -> Response {
    match &config.action {
        Action::Pass(name) => req.headers_mut().append("x-passed", name),
        Action::Ahead(changes) => return ahead(req, next, changes),
        Action::Run(name) => return run(req, next, name).await,
        Action::Replay(attempts) => return replay(req, next, *attempts).await,
        Action::Deadline(millis) => {
            let run = next.run(&req).timeout(Duration::from_millis(*millis)).await;
            return run.unwrap_or_else(|_| Response::new(299));
        }
        Action::Respond => return Response::new(418).with_header("x-own", "1").with_body("teapot"),
        Action::RespondAtLength(bytes) => return Response::new(418).with_body(vec![b'.'; *bytes]),
        Action::Deliver => return deliver(req, next).await,
        Action::ReturnFirst => {
            let first = next.run(&req).await;
            let _ = next.run(&req).await;
            return first;
        }
        Action::ReadRequest(limit) => {
            let read = told(req.body(*limit).await);
            req.headers_mut().set("x-read", read);
        }
        Action::ReadResponse(limit) => {
            let mut response = next.run(&req).await;
            let read = told(response.body(*limit).await);
            response.headers_mut().set("x-read", read);
            return response;
        }
        Action::ReplaceRequest(content) => req.set_body(content.as_str()),
        Action::Fetch { upstream, millis, limit } => return fetched(upstream, *millis, *limit).await,
        Action::Sleep(millis) => sleep(Duration::from_millis(*millis)).await,
        Action::SetUpstream(name) => req.set_upstream(name),
        Action::SetTimeout(millis) => req.set_timeout(Duration::from_millis(*millis)),
        Action::Change(changes) => change(&mut req, changes),
        Action::SetVariable(name, value) => drop(exchange::set_variable(name, value)),
        Action::ShowVariable(name) => req.headers_mut().set("x-variable", exchange::variable(name).unwrap_or_default()),
        Action::Count => {
            let count = state::add("count", 1, None).unwrap_or_default();
            return Response::new(200).with_body(count.to_string());
        }
        Action::Attributes => return attributes(req, next).await,
        Action::Generation => return generation(req, next).await,
        Action::Loop => loop {
            std::hint::black_box(());
        },
        Action::Eat => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(std::hint::black_box(vec![1_u8; 1 << 16]));
            }
        }
        Action::PanicEveryThird => {
            config.calls.set(config.calls.get() + 1);
            assert!(config.calls.get() < 3, "told to panic");
        }
        Action::PanicOnResponse => {
            let response = next.run(&req).await;
            assert!(response.status() == 0, "told to panic");
            return response;
        }
        Action::RefuseConfig | Action::TrapInConfigure(_) => {}
    }
    next.pass(req)
}

async fn run(mut req: Request, next: Next, name: &str) -> Response {
    req.headers_mut().append("x-ran", name);
    let mut response = next.run(&req).await;
    response.headers_mut().append("x-ran", name);
    response
}

async fn replay(mut req: Request, next: Next, attempts: u32) -> Response {
    let mut attempt = 1;
    loop {
        req.headers_mut().set("x-attempt", attempt.to_string());
        let mut response = next.run(&req).await;
        if response.status() < 500 || attempt == attempts {
            response.headers_mut().set("x-attempt", attempt.to_string());
            let replayable = response.replayable().to_string();
            response.headers_mut().set("x-replayable", replayable);
            return response;
        }
        attempt += 1;
    }
}

fn ahead(req: Request, next: Next, changes: &BTreeMap<String, String>) -> Response {
    let mut response = next.pass(req);
    for (name, value) in changes {
        match value.as_str() {
            "" => response.headers_mut().remove(name),
            value => response.headers_mut().set(name, value),
        }
    }
    response.headers_mut().append("x-ahead", "1");
    response
}

async fn deliver(req: Request, next: Next) -> Response {
    let mut response = next.run(&req).await;
    response.set_status(203);
    response.headers_mut().set("x-changed", "new");
    response.headers_mut().append("x-added", "1");
    response.headers_mut().remove("x-removed");
    response.set_body("replaced");
    response
}

fn told(read: Result<&[u8], BodyError>) -> String {
    read.map_or_else(|error| error.as_str().into(), |body| format!("{} bytes", body.len()))
}

async fn fetched(upstream: &str, millis: u64, limit: usize) -> Response {
    let ask = Request::post("/asked").with_header("x-asked", "1").with_body("question");
    match fetch(upstream, ask).timeout(Duration::from_millis(millis)).limit(limit).await {
        Err(error) => Response::new(200).with_body(error.0.as_str()),
        Ok(mut answer) => {
            let status = answer.status();
            let body = answer.body(limit).await.map(<[u8]>::to_vec).unwrap_or_default();
            Response::new(200).with_body(format!("{status} {}", String::from_utf8_lossy(&body)))
        }
    }
}

fn change(req: &mut Request, changes: &BTreeMap<String, String>) {
    for (name, value) in changes {
        match name.as_str() {
            "METHOD" => req.set_method(value),
            "PATH" => req.set_path(value),
            "AUTHORITY" => req.set_authority(value),
            name if value.is_empty() => req.headers_mut().remove(name),
            name => req.headers_mut().set(name, value),
        }
    }
}

async fn attributes(req: Request, next: Next) -> Response {
    let mut response = next.run(&req).await;
    for (name, attribute) in [
        ("x-client", Attribute::ClientAddress),
        ("x-listener", Attribute::Listener),
        ("x-route", Attribute::Route),
        ("x-upstream", Attribute::Upstream),
        ("x-endpoint", Attribute::Endpoint),
        ("x-request-id", Attribute::RequestId),
        ("x-protocol", Attribute::Protocol),
        ("x-attempts", Attribute::Attempts),
        ("x-tls-version", Attribute::TlsVersion),
        ("x-tls-server-name", Attribute::TlsServerName),
        ("x-peer-subject", Attribute::PeerSubject),
        ("x-peer-spiffe", Attribute::PeerSpiffe),
        ("x-peer-sans", Attribute::PeerSans),
    ] {
        response.headers_mut().set(name, exchange::attribute(attribute).unwrap_or_default());
    }
    response
}

async fn generation(mut req: Request, next: Next) -> Response {
    let number = || exchange::attribute(Attribute::Generation).unwrap_or_default();
    req.headers_mut().set("x-generation", number());
    let mut response = next.run(&req).await;
    response.headers_mut().set("x-generation-after", number());
    response
}
