//! Hostile filters on one route, while another route of the same worker is used.

use std::{fmt::Write as _, sync::Arc};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::{
    Client, Guest, Origin, Protocol, Proxy,
    answers::{BODY, DELIVER, FETCH, PASS, RUN, SLEEP},
    empty, full, get, post, soon, upstream,
};

/// A proxy of one worker with a route `/bad` through the guests, and one for everything else without any.
struct Beside {
    proxy: Proxy,
    origin: Origin,
    gate: Arc<Semaphore>,
    _folder: TempDir,
}

impl Beside {
    async fn new(name: &str, guests: &[Guest<'_>], keys: &str) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let gated = gate.clone();
        let origin = Origin::http(Protocol::Http1, move |request: Request<Incoming>| {
            let gated = gated.clone();
            async move {
                if request.uri().path() == "/bad/slow" {
                    drop(gated.acquire().await);
                }
                let _ = request.into_body().collect().await;
                Response::new(full("ok"))
            }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let (mut filters, mut names) = (String::new(), String::new());
        for (n, guest) in guests.iter().enumerate() {
            let path = folder.path().join(format!("{n}.wasm"));
            guest.write(&path);
            let _ = write!(filters, "[filters.{name}-{n}]\nmodule = \"{}\"\n{keys}\n", path.display());
            let _ = write!(names, "\"{name}-{n}\", ");
        }
        let proxy = Proxy::start(&format!(
            "[[routes]]\nmatch = {{ path_prefix = \"/bad\" }}\nfilters = [{names}]\nupstream = \"origin\"\n\
             [[routes]]\nupstream = \"origin\"\n{filters}{}",
            upstream("origin", Protocol::Http1, &[origin.address])
        ));
        Self { proxy, origin, gate, _folder: folder }
    }

    async fn one(name: &str, on_event: &str, keys: &str) -> Self {
        Self::new(name, &[Guest::on_event(on_event)], keys).await
    }

    async fn client(&self) -> Client {
        Client::to(&self.proxy, Protocol::Http1).await
    }

    async fn good(&self) {
        assert_eq!(self.client().await.get("/good").await.status, 200);
    }

    /// Faults of that kind of the filters whose names begin with `name`, once there is one.
    async fn faults(&self, name: &str, kind: &str) -> f64 {
        let admin = Client::connect(Protocol::Http1, self.proxy.app().admin()).await;
        let wanted = |line: &&str| {
            line.starts_with("meshup_filter_faults_total")
                && line.contains(&format!("filter=\"{name}-"))
                && line.contains(&format!("kind=\"{kind}\""))
        };
        soon(name, async {
            loop {
                let metrics = admin.get("/metrics").await;
                let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
                let faults: f64 = metrics.text().lines().filter(wanted).map(count).sum();
                if faults > 0.0 {
                    return faults;
                }
            }
        })
        .await
    }
}

/// Does `first` with the request, and `then` with the event of that code.
fn at(event: u32, first: &str, then: &str) -> String {
    format!(
        "(if (i32.eq (local.get $event) (i32.const {event})) (then {then}))
         (if (i32.eq (local.get $event) (i32.const 2)) (then (return {DELIVER})))
         (if (i32.gt_u (local.get $event) (i32.const 2)) (then (return {PASS})))
         {first}"
    )
}

/// The last thing a guest does in an event.
const RETURN_PASS: &str = "(return (i64.const 0x1000000004))";
const LOOP: &str = "(loop $forever (br $forever))";

#[tokio::test]
async fn case_54_infinite_loops_in_every_event() {
    for (name, event, first) in [
        ("loop-request", 1, PASS),
        ("loop-response", 2, RUN),
        ("loop-body", 3, BODY),
        ("loop-fetched", 4, FETCH),
        ("loop-slept", 5, SLEEP),
    ] {
        for (on_error, expected) in [("deny", (503, "filter-fault")), ("bypass", (200, ""))] {
            let name = format!("{name}-{on_error}");
            let beside = Beside::one(&name, &at(event, first, LOOP), &format!("on_error = \"{on_error}\"")).await;
            let answer = beside.client().await.exchange(post("/bad", full("body"))).await;
            assert_eq!(answer.outcome(), expected, "{name}");
            assert!(beside.faults(&name, "cpu-limit").await >= 1.0);
            beside.good().await;
        }
    }
}

#[tokio::test]
async fn case_54_infinite_loops_when_all_is_over() {
    let beside = Beside::one("loop-end", &at(6, RUN, LOOP), "").await;
    assert_eq!(beside.client().await.get("/bad").await.outcome(), (200, ""));
    assert!(beside.faults("loop-end", "cpu-limit").await >= 1.0);
    beside.good().await;

    let beside = Beside::one("loop-cancelled", &at(7, RUN, LOOP), "").await;
    let gone = tokio::spawn({
        let client = beside.client().await;
        async move { drop(client.try_send(get("/bad/slow")).await) }
    });
    crate::support::eventually("the request arrives", || beside.origin.requests() == 1).await;
    gone.abort();
    assert!(beside.faults("loop-cancelled", "cpu-limit").await >= 1.0);
    beside.gate.add_permits(1);
    beside.good().await;
}

#[tokio::test]
async fn case_54_a_filter_that_never_waits_lets_others_in_between() {
    // Asks for a body that is there, ten thousand times, each time after some work.
    let on_event = format!(
        "(local $n i32) (local.set $n (i32.const 200000))
         (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) {BODY}"
    );
    let beside = Beside::one("busy", &on_event, "").await;
    let bad = beside.client().await;
    let bad = tokio::spawn(async move { bad.get("/bad").await });
    let admin = Client::connect(Protocol::Http1, beside.proxy.app().admin()).await;
    let called = |line: &str| line.starts_with("meshup_filter_calls_total") && line.contains("\"busy-0\"");
    soon("the first calls", async {
        while !admin.get("/metrics").await.text().lines().any(|line| called(line) && !line.ends_with(" 0")) {}
    })
    .await;
    beside.good().await;
    assert!(!bad.is_finished(), "the worker was the filter's alone until it was done");
    let outcome = soon("the end", bad).await.unwrap();
    assert_eq!(outcome.outcome(), (503, "filter-fault"));
}

#[tokio::test]
async fn case_55_heads_without_end() {
    // A request with so many header fields of different names, made at 64 KiB: HEADER, pair of 4 bytes and nothing.
    let fields = |count: u32, verdict: u32| {
        format!(
            "(local $n i32) (local $at i32)
             (i32.store (i32.const 0x10000) (i32.const {verdict}))
             (local.set $at (i32.const 0x10004))
             (loop $more
                (i32.store16 (local.get $at) (i32.const 5))
                (i32.store offset=2 (local.get $at) (i32.const 9))
                (i32.store offset=6 (local.get $at) (i32.const 5))
                (i32.store8 offset=10 (local.get $at) (i32.const 120))
                (i32.store8 offset=11 (local.get $at) (call $letter (local.get $n)))
                (i32.store8 offset=12 (local.get $at) (call $letter (i32.shr_u (local.get $n) (i32.const 4))))
                (i32.store8 offset=13 (local.get $at) (call $letter (i32.shr_u (local.get $n) (i32.const 8))))
                (i32.store8 offset=14 (local.get $at) (call $letter (i32.shr_u (local.get $n) (i32.const 12))))
                (local.set $at (i32.add (local.get $at) (i32.const 15)))
                (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))
             (i64.or (i64.const 0x1000000000000)
                (i64.extend_i32_u (i32.sub (local.get $at) (i32.const 0x10000))))"
        )
    };
    let letter = "(func $letter (param i32) (result i32)
        (i32.add (i32.const 97) (i32.and (local.get 0) (i32.const 15))))";
    let keys = "limits = { cpu_per_call = \"5s\" }";
    let few = fields(1000, 1);
    let beside = Beside::new("few-fields", &[Guest { rest: letter, ..Guest::on_event(&few) }], keys).await;
    let answer = beside.client().await.get("/bad").await;
    assert_ne!(answer.outcome(), (503, "filter-fault"), "it is the origin's to say");
    for verdict in [1, 2, 3] {
        let many = fields(9000, verdict);
        let beside = Beside::new("many-fields", &[Guest { rest: letter, ..Guest::on_event(&many) }], keys).await;
        assert_eq!(beside.client().await.get("/bad").await.outcome(), (503, "filter-fault"), "{verdict}");
        beside.good().await;
    }
    // What each of several may do is too much together.
    let part = fields(3000, 1);
    let guests: Vec<_> = (0..9).map(|_| Guest { rest: letter, ..Guest::on_event(&part) }).collect();
    let beside = Beside::new("sum-of-fields", &guests, keys).await;
    assert_eq!(beside.client().await.get("/bad").await.outcome(), (503, "filter-fault"));
    assert!(beside.faults("sum-of-fields", "malformed").await >= 1.0);
    beside.good().await;
    assert_eq!(beside.origin.requests(), 1, "the good one alone");
}

#[tokio::test]
async fn case_55_a_body_that_does_not_fit_the_guest_is_not_gathered() {
    // The guest wants all there is, however long.
    let beside = Beside::one("greedy", &at(3, BODY, RETURN_PASS), "limits = { memory = \"256KiB\" }").await;
    let small = beside.client().await.exchange(post("/bad", full(vec![b'x'; 100_000]))).await;
    assert_eq!(small.outcome(), (200, ""));
    let (feed, body) = crate::support::channel();
    let client = beside.client().await;
    let answer = tokio::spawn(async move { client.exchange(post("/bad", body)).await });
    // The guest is told that it is too large, and passes it on: the upstream has it before it is whole.
    soon("the request at the origin", async {
        while beside.origin.requests() < 2 && feed.send(vec![b'x'; 64 << 10]).await {}
    })
    .await;
    drop(feed);
    assert_eq!(soon("the answer", answer).await.unwrap().outcome(), (200, ""));
}

#[tokio::test]
async fn case_56_traps_in_every_event() {
    for (name, event, first) in [
        ("trap-request", 1, PASS),
        ("trap-response", 2, RUN),
        ("trap-body", 3, BODY),
        ("trap-fetched", 4, FETCH),
        ("trap-slept", 5, SLEEP),
    ] {
        for trap in ["unreachable", "(drop (call $on_event (local.get 0) (local.get 1) (local.get 2)))"] {
            let beside = Beside::one(name, &at(event, first, trap), "").await;
            let answer = beside.client().await.exchange(post("/bad", full("body"))).await;
            assert_eq!(answer.outcome(), (503, "filter-fault"), "{name} {trap}");
            beside.good().await;
        }
    }
}

#[tokio::test]
async fn case_57_a_filter_that_asks_the_proxy_itself_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("loop.wasm");
    Guest::on_event(&at(9, FETCH, RETURN_PASS)).write(&module);
    let Ok(port) = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()) else {
        panic!("no port")
    };
    let proxy = Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"{port}\"\n[[routes]]\nmatch = {{ path = \"/good\" }}\n\
         upstream = \"nobody\"\n[[routes]]\nfilters = [\"self\"]\nupstream = \"origin\"\ntimeout = \"5s\"\n\
         [filters.self]\nmodule = \"{}\"\n[upstreams.nobody]\nendpoints = [\"127.0.0.1:1\"]\n{}max_connections = 16\n\
         connect_timeout = \"100ms\"\n",
        module.display(),
        upstream("origin", Protocol::Http1, &[port])
    ));
    let client = Client::to(&proxy, Protocol::Http1).await;
    let asked = tokio::spawn(async move { client.get("/").await });
    let good = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(good.get("/good").await.outcome(), (503, "connect-failure"));
    let answer = soon("the end of it", asked).await.unwrap();
    assert!(answer.status.as_u16() >= 500, "{answer:?}");
}

#[tokio::test]
async fn case_60_what_one_filter_took_away_the_next_cannot_find() {
    // Removes `authorization` and changes `x-secret`; the other one answers with all that lies in its memory.
    let remove = "(i64.const 0x6000000002a)";
    let rest = r#"(data (i32.const 0x600) "\01\00\00\00\07\00\0d\00\00\00authorization\06\00\0d\00\00\00\08\00\00\00x-secretz")"#;
    let respond = r#"
        (memory.copy (i32.const 0x2000a) (i32.const 0x1000) (i32.const 0x4000))
        (memory.init $head (i32.const 0x1fffc) (i32.const 0) (i32.const 18))
        (i64.const 0x1fffc00004012)"#;
    let head = r#"(data $head "\03\00\00\00\09\00\02\00\00\00\c8\00\0c\00\00\40\00\00")"#;
    let respond = respond.replace("0x2000a", "0x2000e");
    let outer = Guest { rest, ..Guest::on_event(remove) };
    let inner = Guest { rest: head, ..Guest::on_event(&respond) };
    let beside = Beside::new("snoop", &[outer, inner], "").await;
    let request = Request::get("/bad").header("host", "a.example").header("authorization", "Bearer hunter2");
    let request = request.header("x-secret", "hunter3").header("x-public", "seen").body(empty()).unwrap();
    let answer = beside.client().await.exchange(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let memory = String::from_utf8_lossy(&answer.body);
    assert!(memory.contains("x-public") && memory.contains("seen"), "{memory:?}");
    assert!(!memory.contains("hunter") && !memory.contains("authorization"), "{memory:?}");
}
