//! A filter that fails costs its own exchanges what the configuration says, and nobody else anything.

use std::{fs, path::Path, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::{Client, Origin, Protocol, Proxy, eventually, filter, full, module, soon, upstream};

/// A proxy with a route `/bad` through one filter, and one for everything else without.
fn beside(origin: &Origin, name: &str, module: &Path, keys: &str) -> Proxy {
    Proxy::start(&format!(
        "[[routes]]\nmatch = {{ path_prefix = \"/bad\" }}\nfilters = [\"{name}\"]\nupstream = \"origin\"\n\
         [[routes]]\nupstream = \"origin\"\n[filters.{name}]\nmodule = \"{}\"\n{keys}\n{}",
        module.display(),
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

async fn origin() -> Origin {
    Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await
}

/// How often a filter faulted, by `/metrics`.
async fn faults(proxy: &Proxy, name: &str) -> f64 {
    let metrics = Client::connect(Protocol::Http1, proxy.app().admin()).await.get("/metrics").await;
    let wanted = |line: &&str| line.starts_with("meshup_filter_faults_total") && line.contains(name);
    metrics.text().lines().filter(wanted).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Asks `/bad` a few times while another client asks `/good`, and checks what either gets.
async fn check(name: &str, module: &Path, on_error: &str, isolation: &str, config: &str) {
    let origin = origin().await;
    let name = format!("{name}-{on_error}-{isolation}");
    let keys = format!("on_error = \"{on_error}\"\nisolation = \"{isolation}\"\n{config}");
    let proxy = beside(&origin, &name, module, &keys);
    let good = Client::to(&proxy, Protocol::Http1).await;
    let good = tokio::spawn(async move {
        for _ in 0..50 {
            assert_eq!(good.get("/good").await.text(), "ok");
        }
    });
    let bad = Client::to(&proxy, Protocol::Http1).await;
    for _ in 0..5 {
        let answer = bad.get("/bad").await;
        let expected = if on_error == "deny" { (503, "filter-fault") } else { (200, "") };
        assert_eq!(answer.outcome(), expected, "{name}");
    }
    soon("the good requests", good).await.unwrap();
    soon("the count", async { while faults(&proxy, &name).await < 1.0 {} }).await;
}

#[tokio::test]
async fn filters_that_fail_are_denied_or_bypassed_while_other_routes_go_on() {
    for action in ["loop", "eat", "panic-on-response"] {
        for on_error in ["deny", "bypass"] {
            for isolation in ["worker", "exchange"] {
                check(action, module(), on_error, isolation, &format!("config = {{ do = \"{action}\" }}")).await;
            }
        }
    }
}

/// A module whose answer to every event is `answer`, at address 16, packed as it should be or as given.
fn rubbish(folder: &TempDir, answer: &str, packed: &str) -> std::path::PathBuf {
    let text = format!(
        r#"(module (memory (export "memory") 2) (data (i32.const 16) "{answer}")
            (func (export "meshup_abi_version") (result i32) (i32.const 1))
            (func (export "meshup_buffer") (param i32) (result i32) (i32.const 4096))
            (func (export "meshup_configure") (param i32) (result i64) (i64.const 0))
            (func (export "meshup_on_event") (param i32 i32 i32) (result i64) (i64.const {packed})))"#
    );
    let path = folder.path().join("rubbish.wasm");
    fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path
}

#[tokio::test]
async fn answers_that_are_rubbish_are_faults() {
    for (answer, packed) in [
        (r"\63\00\00\00", "0x1000000004"),
        (r"\01\00\00\00", "0x1000000003"),
        (r"\00\00\00\00", "0x1000000004"),
        (r"\04\00\00\00", "0x1000000004"),
        (r"\03\00\00\00", "0x1000000004"),
        (r"\01\00\00\00\01\00\ff\ff\ff\ff", "0x100000000a"),
        (r"\01\00\00\00\09\00\03\00\00\00abc\05", "0x100000000e"),
        (r"\01\00\00\00", "0x7fffffff00000004"),
        (r"\01\00\00\00", "-1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        check("rubbish", &rubbish(&folder, answer, packed), "deny", "worker", "").await;
        check("rubbish", &rubbish(&folder, answer, packed), "bypass", "exchange", "").await;
    }
}

#[tokio::test]
async fn a_fresh_instance_takes_the_place_of_one_that_panicked() {
    let origin = origin().await;
    let config = "config = { do = \"panic-every-third\" }";
    let proxy = beside(&origin, "third", module(), config);
    let client = Client::to(&proxy, Protocol::Http1).await;
    let mut outcomes = Vec::new();
    for _ in 0..12 {
        outcomes.push(client.get("/bad").await.status.as_u16());
    }
    assert_eq!(outcomes, [200, 200, 503].repeat(4));
    let isolated = beside(&origin, "alone", module(), &format!("isolation = \"exchange\"\n{config}"));
    let client = Client::to(&isolated, Protocol::Http1).await;
    for _ in 0..12 {
        assert_eq!(client.get("/bad").await.status, 200, "each exchange has an instance of its own");
    }
}

#[tokio::test]
async fn exchanges_that_wait_in_an_instance_share_its_fate() {
    for (on_error, expected) in [("deny", (503, "filter-fault")), ("bypass", (200, ""))] {
        let gate = Arc::new(Semaphore::new(0));
        let opened = gate.clone();
        let origin = Origin::http(Protocol::Http1, move |request: Request<Incoming>| {
            let opened = opened.clone();
            async move {
                if request.uri().path() == "/bad/slow" {
                    opened.acquire().await.unwrap().forget();
                }
                Response::new(full("ok"))
            }
        })
        .await;
        let keys = format!("on_error = \"{on_error}\"\nconfig = {{ do = \"panic-on-response\" }}");
        let proxy = beside(&origin, &format!("fate-{on_error}"), module(), &keys);
        let slow = Client::to(&proxy, Protocol::Http1).await;
        let slow = tokio::spawn(async move { slow.get("/bad/slow").await });
        eventually("the slow request arrives", || origin.requests() == 1).await;
        assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/bad").await.outcome(), expected);
        gate.add_permits(1);
        assert_eq!(soon("the slow answer", slow).await.unwrap().outcome(), expected);
    }
}

#[tokio::test]
async fn a_filter_that_cannot_be_configured_stops_the_start_and_is_named() {
    for (action, told) in [
        ("{ trap-in-configure = true }", "told to trap"),
        ("{ trap-in-configure = false }", "told to refuse"),
        ("\"unheard-of\"", "unheard-of"),
    ] {
        let config = format!(
            "[[routes]]\nfilters = [\"odd\"]\nupstream = \"origin\"\n{}{}",
            filter("odd", action),
            upstream("origin", Protocol::Http1, &["127.0.0.1:1".parse().unwrap()])
        );
        let Err(refused) = Proxy::try_start(&config) else { panic!("{action} starts") };
        let refused = refused.to_string();
        assert!(refused.contains("odd") && (refused.contains(told) || refused.contains("trap")), "{refused}");
    }
}
