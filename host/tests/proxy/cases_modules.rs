//! Modules that change on disk: to something that is no filter, to something that takes for ever to compile, in place,
//! by halves, and to compiled code that nobody may put there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use meshup::{
    App, Options, Source,
    wasm::{Compiler, Priority, precompile},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Answer, Client, Guest, Origin, Protocol, Proxy, ROUTE, empty, eventually, full, post, soon, upstream,
};

/// A proxy whose only route goes through the module `filter.wasm`.
struct Swapped {
    proxy: Proxy,
    folder: TempDir,
    _origin: Origin,
}

impl Swapped {
    async fn new(compiler: Compiler, watch_files: bool) -> Self {
        let origin = Origin::http(Protocol::Http1, |request: Request<Incoming>| async move {
            let mut response = Response::new(full("ok"));
            let version = request.headers()["x-version"].clone();
            response.headers_mut().insert("x-version", version);
            response
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("filter.wasm"), version('1')).unwrap();
        let file = folder.path().join("meshup.toml");
        let config = format!(
            "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             [filters.swapped]\nmodule = \"filter.wasm\"\n{ROUTE}filters = [\"swapped\"]\n{}",
            upstream("origin", Protocol::Http1, &[origin.address])
        );
        fs::write(&file, config).unwrap();
        let cache_dir = Some(folder.path().join("cache"));
        let proxy =
            Proxy::of(App::start(Options { source: Source::File(file), cache_dir, compiler, watch_files }).unwrap());
        Self { proxy, folder, _origin: origin }
    }

    fn module(&self) -> PathBuf {
        self.folder.path().join("filter.wasm")
    }

    async fn reload(&self) -> Answer {
        Client::connect(Protocol::Http1, self.proxy.app().admin()).await.exchange(post("/reload", empty())).await
    }

    /// The version that answers.
    async fn served(&self) -> String {
        let answer = Client::to(&self.proxy, Protocol::Http1).await.get("/").await;
        assert_eq!(answer.outcome(), (200, ""));
        answer.header("x-version").to_owned()
    }
}

/// A filter that says its version to the upstream.
fn version(version: char) -> Vec<u8> {
    with_ballast(version, "")
}

fn with_ballast(version: char, ballast: &str) -> Vec<u8> {
    let answer = format!(r#"(data (i32.const 0x600) "\01\00\00\00\06\00\0e\00\00\00\09\00\00\00x-version{version}")"#);
    Guest { rest: &(answer + ballast), ..Guest::on_event("(i64.const 0x60000000018)") }.wasm()
}

/// What the only fault of a refused reload says, which is about the module's line.
fn refusal(answer: &Answer) -> String {
    assert_eq!(answer.status, 422, "{}", answer.text());
    let document: Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!((document["total"].as_u64(), document["errors"][0]["line"].as_u64()), (Some(1), Some(8)), "{document}");
    document["errors"][0]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn case_58_what_is_no_filter_is_refused_and_the_old_module_serves() {
    let swapped = Swapped::new(Compiler::InProcess, false).await;
    let good = version('2');
    let text = |text: &str| wat::parse_str(text).unwrap();
    let abi = Guest { version: "(i32.const 7)", ..Guest::default() }.wasm();
    let loops = Guest { rest: "(func $start (loop $forever (br $forever))) (start $start)", ..Guest::default() }.wasm();
    let hungry = Guest { rest: "(table 1000000 funcref)", ..Guest::default() }.wasm();
    let wasi = Guest { imports: r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#, ..Guest::default() }.wasm();
    let threads = b"\0asm\x01\0\0\0\x05\x04\x01\x03\x01\x02".to_vec();
    for (module, said) in [
        (Vec::new(), "the file is empty"),
        (good[..good.len() / 2].to_vec(), "not a valid WebAssembly module"),
        (good[..6].to_vec(), "it ends within its header"),
        (b"\x7fELF\x02\x01\x01".to_vec(), "not a WebAssembly module: it begins with"),
        (text("(component)"), "a WebAssembly component, not a core module"),
        (text("(module)"), "it does not export `memory`"),
        (threads, "not a valid WebAssembly module"),
        (text(r#"(module (memory (export "memory") 1))"#), "it does not export `meshup_abi_version`"),
        (abi, "it speaks ABI version 7"),
        (loops, "CPU limit of 500ms"),
        (hungry, "table"),
        (wasi, "build for wasm32-unknown-unknown, without WASI"),
        (vec![0; (32 << 20) + 1], "more than the 33554432 allowed"),
    ] {
        fs::write(swapped.module(), &module).unwrap();
        let refused = refusal(&swapped.reload().await);
        assert!(refused.contains("filter.wasm") && refused.contains(said), "{said}: {refused}");
        assert_eq!(swapped.served().await, "1", "{said}");
    }
    fs::write(swapped.module(), &good).unwrap();
    assert_eq!(swapped.reload().await.status, 200);
    assert_eq!(swapped.served().await, "2");
}

#[tokio::test]
async fn case_58_what_is_no_file_is_refused_at_once() {
    let swapped = Swapped::new(Compiler::InProcess, false).await;
    fs::remove_file(swapped.module()).unwrap();
    assert!(refusal(&swapped.reload().await).contains("cannot read the module"));
    fs::create_dir(swapped.module()).unwrap();
    assert!(refusal(&swapped.reload().await).contains("it is not a file"));
    fs::remove_dir(swapped.module()).unwrap();
    // Nobody will ever write to it.
    let made = std::process::Command::new("mkfifo").arg(swapped.module()).status().unwrap();
    assert!(made.success());
    assert!(refusal(&swapped.reload().await).contains("it is not a file"));
    assert_eq!(swapped.served().await, "1");
    fs::remove_file(swapped.module()).unwrap();
    fs::write(swapped.module(), version('2')).unwrap();
    assert_eq!(swapped.reload().await.status, 200);
}

/// Modules that keep a compiler busy: one function without end, functions without end, one branch to everywhere.
fn slow_modules() -> [String; 3] {
    let step = "(local.set 0 (i32.add (local.get 0) (i32.rotl (local.get 1) (local.get 2))))
        (local.set 1 (i32.mul (local.get 1) (local.get 0))) (local.set 2 (i32.xor (local.get 2) (local.get 1)))";
    let function = format!("(func (param i32 i32 i32) {})", step.repeat(250_000));
    let functions =
        "(func (param i32 i32) (result i32) (i32.rotl (local.get 0) (i32.mul (local.get 0) (local.get 1))))";
    let branch = format!(
        "(func (param i32) {} (br_table {} (local.get 0)) {})",
        "(block ".repeat(500),
        (0..50_000).map(|n| (n % 500).to_string()).collect::<Vec<_>>().join(" "),
        ")".repeat(500)
    );
    [function, functions.repeat(100_000), branch]
}

#[tokio::test]
async fn case_58_a_module_that_is_slow_to_compile_holds_nobody_up() {
    let deadline = Duration::from_secs(1);
    let compiler = Compiler::Child { program: env!("CARGO_BIN_EXE_meshup").into(), deadline };
    let swapped = Swapped::new(compiler, false).await;
    for ballast in slow_modules() {
        fs::write(swapped.module(), with_ballast('1', &ballast)).unwrap();
        let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        let reload = async {
            let answer = swapped.reload().await;
            done.store(true, Ordering::SeqCst);
            answer
        };
        let others = async {
            while !done.load(Ordering::SeqCst) {
                assert_eq!(swapped.served().await, "1");
                served.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (answer, ()) = soon("the refusal", async { tokio::join!(reload, others) }).await;
        // A fast machine may be done with one of them.
        if answer.status != 200 {
            assert!(refusal(&answer).contains("it takes longer than 1s to compile"));
            assert_eq!(swapped.served().await, "1");
        } else {
            fs::write(swapped.module(), version('1')).unwrap();
            assert_eq!(swapped.reload().await.status, 200);
        }
        assert!(served.load(Ordering::SeqCst) > 3, "requests went on meanwhile");
    }
}

/// Asks until told to stop; every answer is of some whole version.
async fn load(client: Client, stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    while !stop.load(Ordering::SeqCst) {
        let answer = client.get("/").await;
        let version = answer.header("x-version");
        assert!(answer.outcome() == (200, "") && version.len() == 1 && version <= "6", "{answer:?}");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn case_59_a_module_that_is_written_by_halves_in_place_under_load() {
    let swapped = Swapped::new(Compiler::InProcess, true).await;
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut clients = Vec::new();
    for protocol in Protocol::BOTH {
        let client = Client::to(&swapped.proxy, protocol).await;
        clients.push(tokio::spawn(load(client, stop.clone(), answered.clone())));
    }
    for name in '2'..='6' {
        let (before, module) = (answered.load(Ordering::SeqCst), version(name));
        write_in_place(&swapped.module(), &module[..module.len() / 2]);
        eventually("requests go on", || answered.load(Ordering::SeqCst) > before + 10).await;
        write_in_place(&swapped.module(), &module);
        let text = name.to_string();
        soon("the new version", async { while swapped.served().await != text {} }).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        soon("a client", client).await.unwrap();
    }
    // What runs does not hang on the file.
    write_in_place(&swapped.module(), &[0; 64]);
    assert_eq!(swapped.served().await, "6");
}

/// Keeps the file and changes what is in it.
fn write_in_place(path: &Path, content: &[u8]) {
    use std::io::Write;
    let mut file = fs::File::options().write(true).truncate(true).open(path).unwrap();
    file.write_all(content).unwrap();
}

#[tokio::test]
async fn case_59_compiled_code_is_taken_from_nobody() {
    let swapped = Swapped::new(Compiler::InProcess, false).await;
    // As a module: machine code in an ELF file, as the cache has it.
    let code = precompile(&version('2'), Priority::Normal).unwrap();
    fs::write(swapped.module(), &code).unwrap();
    assert!(refusal(&swapped.reload().await).contains("not a WebAssembly module"));
    // In the cache: the code of one module in the place of another's, and code that nobody wrote a digest of.
    fs::write(swapped.module(), version('2')).unwrap();
    assert_eq!(swapped.reload().await.status, 200);
    let cached = || fs::read_dir(swapped.folder.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let (mut files, _): (Vec<_>, ()) = (cached().collect(), ());
    files.sort();
    let [one, other] = &files[..] else { panic!("{files:?}") };
    let kept = [fs::read(one).unwrap(), fs::read(other).unwrap()];
    fs::write(one, &kept[1]).unwrap();
    fs::write(other, &code).unwrap();
    for name in ['1', '2', '1'] {
        fs::write(swapped.module(), version(name)).unwrap();
        assert_eq!(swapped.reload().await.status, 200);
        assert_eq!(swapped.served().await, name.to_string(), "not what the cache says");
    }
    assert_eq!([fs::read(one).unwrap(), fs::read(other).unwrap()].map(|file| file.len()), kept.map(|file| file.len()));
}
