//! The command line as a shell, a service manager and a terminal see it.

use std::{
    fs,
    io::{self, Read},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const CONFIG: &str =
    "workers = 1\nadmin.listen = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n";
const PATIENCE: Duration = Duration::from_secs(20);

fn meshup(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshup")).args(args).output().unwrap()
}

fn config(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("meshup.toml");
    fs::write(&path, CONFIG).unwrap();
    path
}

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: `{program}` is missing");
    }
    found
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = meshup(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("intercept"), "{shell}");
    }
}

#[test]
fn bash_takes_its_completions() {
    if !installed("bash") {
        return;
    }
    let script = String::from_utf8(meshup(&["completions", "bash"]).stdout).unwrap();
    let ask = "COMP_WORDS=(meshup che); COMP_CWORD=1; _meshup meshup che meshup; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").arg("-c").arg(format!("{script}\n{ask}")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "check", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    assert!(meshup(&["man", dir.to_str().unwrap()]).status.success());
    for page in ["meshup.1", "meshup-run.1", "meshup-intercept-install.1", "meshup-filter-new.1"] {
        let text = fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    assert!(fs::read_to_string(dir.join("meshup.1")).unwrap().contains("Exit codes"));
}

#[test]
fn exit_codes_are_what_the_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let good = config(&folder);
    let missing = folder.path().join("none.toml");
    let code = |args: &[&str]| meshup(args).status.code();
    assert_eq!(code(&["check", "--config", good.to_str().unwrap()]), Some(0));
    assert_eq!(code(&["check", "--config", missing.to_str().unwrap()]), Some(1));
    assert_eq!(code(&["run", "--config", missing.to_str().unwrap()]), Some(1));
    assert_eq!(code(&["check"]), Some(2));
    assert_eq!(code(&["chekc"]), Some(2));
    let help = String::from_utf8(meshup(&["--help"]).stdout).unwrap();
    for line in ["  0  done", "  1  it failed", "  2  the command line", "RUST_LOG", "NO_COLOR", "NOTIFY_SOCKET"] {
        assert!(help.contains(line), "{line}\n{help}");
    }
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let commands: [&[&str]; 5] = [
        &["--help"],
        &["run", "--help"],
        &["--version"],
        &["completions", "bash"],
        &["check", "--config", config.to_str().unwrap()],
    ];
    for args in commands {
        let full = fs::File::create("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_meshup")).args(args).stdout(full).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(told.starts_with("error: cannot write to standard output: No space left"), "{args:?}: {told}");
        let (reader, gone) = io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_meshup")).args(args).stdout(gone).output().unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{args:?}");
    }
}

/// `meshup run`; killed when it is dropped.
struct Run(Child);

impl Run {
    fn start(config: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshup"));
        command.arg("run").arg("--config").arg(config).envs(environment.iter().copied());
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end and gives what it logged.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the process goes on");
            thread::sleep(Duration::from_millis(2));
        }
        let mut log = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.0.wait().unwrap().code(), log)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The service manager's end of a socket.
struct Manager(UnixDatagram);

impl Manager {
    fn hears(&self) -> String {
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 4096];
        let read = self.0.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }
}

fn tells_the_manager(name: &str, socket: UnixDatagram) {
    let folder = tempfile::tempdir().unwrap();
    let path = config(&folder);
    let manager = Manager(socket);
    let run = Run::start(&path, &[("NOTIFY_SOCKET", name)]);
    assert_eq!(manager.hears(), "READY=1\nSTATUS=serving");
    run.signal("HUP");
    let reloading = manager.hears();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hears(), "READY=1\nSTATUS=serving");
    fs::write(&path, "nonsense").unwrap();
    // The changed file alone is refused too, but the manager did not ask for that.
    run.signal("HUP");
    assert!(manager.hears().starts_with("RELOADING=1"));
    assert_eq!(manager.hears(), "READY=1\nSTATUS=serving; the last reload was refused");
    run.signal("TERM");
    assert_eq!(manager.hears(), "STOPPING=1\nSTATUS=draining");
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn a_service_manager_hears_of_start_reload_and_drain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    tells_the_manager(path.to_str().unwrap(), UnixDatagram::bind(&path).unwrap());
}

#[test]
fn a_service_manager_may_have_an_abstract_socket() {
    let name = format!("meshup-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    tells_the_manager(&format!("@{name}"), UnixDatagram::bind_addr(&address).unwrap());
}

#[test]
fn a_service_manager_that_is_gone_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["/nonexistent/socket", "relative", ""] {
        let socket = folder.path().join("other");
        _ = fs::remove_file(&socket);
        let run = Run::start(&config(&folder), &[("NOTIFY_SOCKET", name)]);
        // Nothing tells when it listens but its log, which is not read before its end: a signal then waits for it.
        let deadline = Instant::now() + PATIENCE;
        while !catches_term(run.0.id()) {
            assert!(Instant::now() < deadline, "no handler for SIGTERM");
            thread::sleep(Duration::from_millis(2));
        }
        run.signal("TERM");
        let (code, log) = run.end();
        assert_eq!(code, Some(0), "{log}");
    }
}

/// Whether the process has a handler for SIGTERM (15).
fn catches_term(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << 14) != 0)
}

/// What `meshup run` writes to a terminal until it fails to start.
fn on_a_terminal(environment: &[(&str, &str)]) -> Option<String> {
    if !installed("script") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = config(&folder);
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    // A terminal forgets at control-C what nobody has read off it yet, unless it is asked not to.
    let command = format!("stty noflsh; exec {} run --config {}", env!("CARGO_BIN_EXE_meshup"), path.display());
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).envs(environment.iter().copied()).env_remove("RUST_LOG");
    script.env("NOTIFY_SOCKET", folder.path().join("notify")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = script.spawn().unwrap();
    assert!(Manager(socket).hears().starts_with("READY=1"));
    // Control-C, as a person would.
    std::io::Write::write_all(&mut child.stdin.as_ref().unwrap(), b"\x03").unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn logs_are_text_on_a_terminal_and_coloured_unless_unwanted() {
    let Some(coloured) = on_a_terminal(&[("NO_COLOR", "")]) else { return };
    assert!(coloured.contains("listening") && coloured.contains("\x1b["), "{coloured:?}");
    assert!(!coloured.contains("{\"timestamp\""), "{coloured:?}");
    let plain = on_a_terminal(&[("NO_COLOR", "1")]).unwrap();
    assert!(plain.contains("listening") && !plain.contains("\x1b["), "{plain:?}");
}

#[test]
fn logs_are_json_elsewhere_and_rust_log_chooses_them() {
    let folder = tempfile::tempdir().unwrap();
    let log = |level: &str| {
        let socket = UnixDatagram::bind(folder.path().join(format!("notify-{level}"))).unwrap();
        let name = folder.path().join(format!("notify-{level}"));
        let run = Run::start(&config(&folder), &[("RUST_LOG", level), ("NOTIFY_SOCKET", name.to_str().unwrap())]);
        Manager(socket).hears();
        run.signal("TERM");
        run.end().1
    };
    let info = log("info");
    assert!(info.contains("\"listening\""), "{info}");
    assert!(info.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{info}");
    assert_eq!(log("warn"), "");
}
