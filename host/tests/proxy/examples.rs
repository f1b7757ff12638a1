//! The examples do what their READMEs say.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use http::HeaderValue;

use crate::support::{Answer, Client, Process, Protocol, get, soon};

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn target(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(folder)
}

/// The service of the quickstart; it ends when it is dropped.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    fn start() -> Self {
        let mut child = Command::new(service()).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address }
    }

    /// A configuration of the examples with this service and ports that the system chooses.
    fn adapt(&self, config: &str) -> String {
        let config =
            config.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9000", &self.address.to_string());
        let config = config.replace("per_try_timeout = \"1s\"", "per_try_timeout = \"20s\"");
        format!("{config}\n[admin]\nlisten = \"127.0.0.1:0\"\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The service's binary. The first caller has cargo build it.
fn service() -> &'static Path {
    static SERVICE: OnceLock<PathBuf> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let folder = target("examples");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "meshup-quickstart", "--target-dir"])
            .arg(&folder)
            .current_dir(workspace())
            .status();
        assert!(built.unwrap().success());
        folder.join("debug/meshup-quickstart")
    })
}

/// Asks for a path, with the key or without.
async fn ask(process: &Process, path: &str, key: Option<&'static str>) -> Answer {
    let mut request = get(path);
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", HeaderValue::from_static(key));
    }
    Client::connect(Protocol::Http1, process.address()).await.exchange(request).await
}

#[tokio::test]
async fn the_quickstart_answers_as_its_readme_says() {
    let service = Service::start();
    let config = fs::read_to_string(workspace().join("examples/quickstart/meshup.toml")).unwrap();
    let process = Process::run(&service.adapt(&config)).await;
    assert_eq!(ask(&process, "/hello", None).await.status, 200);
    assert_eq!(ask(&process, "/v1/orders", None).await.status, 401);
    let orders = ask(&process, "/v1/orders", Some("secret")).await;
    assert_eq!(orders.status, 200);
    let seen = orders.text().to_ascii_lowercase();
    assert!(seen.contains("get /orders ") && seen.contains("x-api-key-identity: alice"), "{seen}");
    assert_eq!(ask(&process, "/flaky", None).await.status, 503);
    let retried = ask(&process, "/v1/flaky", Some("secret")).await;
    assert_eq!(retried.outcome(), (200, ""), "{}", retried.text());

    let single = service.adapt(&config).replace("attempts = 3", "attempts = 1");
    fs::write(process.config(), single).unwrap();
    let taken_up = async { while ask(&process, "/v1/flaky", Some("secret")).await.status != 503 {} };
    soon("the change is taken up", taken_up).await;
}

/// Builds the crate in `folder` as the README says; gives its module.
fn build(folder: &Path) -> PathBuf {
    let built = Command::new(env!("CARGO_BIN_EXE_meshup"))
        .args(["filter", "build"])
        .current_dir(folder)
        .env("CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", target("examples"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8(built.stdout).unwrap().split("  ").next().unwrap().into()
}

/// The example's crate outside the repository.
fn copy_of_custom_filter(folder: &Path) {
    let example = workspace().join("examples/custom-filter");
    fs::create_dir(folder.join("src")).unwrap();
    for file in ["Cargo.lock", "src/lib.rs"] {
        fs::copy(example.join(file), folder.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(example.join("Cargo.toml")).unwrap();
    let sdk = workspace().join("sdk");
    fs::write(folder.join("Cargo.toml"), manifest.replace("../../sdk", sdk.to_str().unwrap())).unwrap();
}

#[tokio::test]
async fn the_custom_filter_is_built_served_and_changed_as_its_readme_says() {
    let service = Service::start();
    let folder = tempfile::tempdir().unwrap();
    copy_of_custom_filter(folder.path());
    let module = folder.path().join("quota.wasm");
    fs::copy(build(folder.path()), &module).unwrap();
    let config = fs::read_to_string(workspace().join("examples/custom-filter/meshup.toml")).unwrap();
    let config = config.replace("target/wasm32-unknown-unknown/release/quota.wasm", module.to_str().unwrap());
    let process = Process::run(&service.adapt(&config.replace("\"10s\"", "\"1h\""))).await;
    for remaining in ["2", "1", "0"] {
        let answer = ask(&process, "/", None).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-quota-remaining")), (200, remaining));
    }
    let refused = ask(&process, "/", None).await;
    assert_eq!(refused.status, 429);

    let source = fs::read_to_string(folder.path().join("src/lib.rs")).unwrap();
    let told = format!("{:?}", refused.text());
    assert!(source.contains(&told), "{told}");
    fs::write(folder.path().join("src/lib.rs"), source.replace(&told, r#""slow down\n""#)).unwrap();
    fs::copy(build(folder.path()), &module).unwrap();
    let taken_up = async { while ask(&process, "/", None).await.text() != "slow down\n" {} };
    soon("the new module is taken up", taken_up).await;
}
