//! A whole proxy in this process: what is left when it is dropped.

use std::{
    fs,
    time::{Duration, Instant},
};

use meshup::{App, Options, Source, wasm::Compiler};

const CONFIG: &str = r#"
workers = 2
admin = { listen = "127.0.0.1:0" }
listeners = [{ name = "http", listen = "127.0.0.1:0" }]
"#;

/// The names of this process's threads that belong to a proxy; the clock of the engine belongs to all proxies.
fn proxy_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map_while(Result::ok);
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let own =
        |name: &String| ["meshup-worker", "meshup-reload", "meshup-control"].iter().any(|own| name.starts_with(own));
    names.filter(own).collect()
}

#[test]
fn a_dropped_proxy_leaves_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshup.toml");
    fs::write(&path, CONFIG).unwrap();
    let app = App::start(Options {
        source: Source::File(path),
        cache_dir: None,
        compiler: Compiler::InProcess,
        watch_files: true,
    })
    .unwrap();
    wait_for_threads(4);
    drop(app);
    wait_for_threads(0);
}

fn wait_for_threads(count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while proxy_threads().len() != count {
        assert!(Instant::now() < deadline, "{:?}", proxy_threads());
        std::thread::yield_now();
    }
}
