//! `meshup demo` as somebody tries it: every printed command is run, and what is promised is checked.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A running demonstration, ended with the test.
struct Demo {
    process: Child,
    printed: String,
}

impl Demo {
    fn start(temp: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshup"));
        command.arg("demo").env("TMPDIR", temp).env("XDG_CACHE_HOME", temp.join("cache"));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (lines, printed) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut demo = Self { process, printed: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while !demo.printed.contains("Ctrl-C ends") {
            let line = printed.recv_timeout(deadline - Instant::now()).unwrap_or_else(|_| panic!("{}", demo.printed));
            demo.printed.push_str(&line);
            demo.printed.push('\n');
        }
        demo
    }

    fn interrupt(&mut self) -> i32 {
        sh(&format!("kill -INT {}", self.process.id()));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn sh(command: &str) {
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
}

/// What a shell makes of a printed command: words, some in single quotes.
fn words(command: &str) -> Vec<String> {
    let quoted = |(at, part): (usize, &str)| match at % 2 {
        1 => vec![part.to_owned()],
        _ => part.split_whitespace().map(str::to_owned).collect(),
    };
    command.split('\'').enumerate().flat_map(quoted).collect()
}

/// Does what `curl` would do; gives path, status and body.
fn curl(command: &str) -> (String, u16, String) {
    let (mut method, mut headers, mut url) = ("GET".to_owned(), String::new(), String::new());
    let mut words = words(command).into_iter().skip(1);
    while let Some(word) = words.next() {
        match &*word {
            "-i" | "-s" => {}
            "-X" => method = words.next().unwrap(),
            "-H" => headers.push_str(&format!("{}\r\n", words.next().unwrap())),
            _ => url = word,
        }
    }
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (format!("/{path}"), head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The numbers in parentheses: the statuses to expect of the commands that follow.
fn statuses(line: &str) -> impl Iterator<Item = u16> {
    line.split('(').skip(1).filter_map(|part| part.split_once(')')?.0.parse().ok())
}

/// What must be in the body, by path and status.
fn promised(path: &str, status: u16) -> &'static [&'static str] {
    match (path, status) {
        ("/api/orders", 200) => &["GET /orders HTTP/1.1", "x-rewritten-by: meshup", "traceparent: 00-"],
        ("/keys", 200) => &["x-api-key-identity: alice"],
        ("/tokens", 200) => &["x-user: alice"],
        ("/users", 200) => &["x-basic-auth-identity: alice"],
        ("/users", 403) => &["access denied"],
        ("/limited", 429) => &["rate limit"],
        ("/tokens", 401) => &["invalid_token"],
        ("/teams", 200) => &["x-team: tea"],
        ("/teams", 403) => &["only with the cookie"],
        ("/faults", 500) => &["injected fault"],
        ("/flaky?hidden", 200) => &["x-attempt: 3"],
        ("/api/flaky?all", 200) => &["GET /flaky?all", "x-user: alice", "x-api-key-identity: alice", "x-attempt: 3"],
        ("/filters", 200) => &[
            "\"access\"",
            "\"api-key\"",
            "\"basic-auth\"",
            "\"cors\"",
            "\"ext-authz\"",
            "\"fault\"",
            "\"jwt\"",
            "\"rate-limit\"",
            "\"retry\"",
            "\"rewrite\"",
            "\"telemetry\"",
        ],
        ("/metrics", 200) => &["meshup_requests_total{", "http_requests_total{"],
        ("/reload", 422) => &["did you mean `path`?", "drain_timeout"],
        _ => &[],
    }
}

#[test]
fn every_printed_command_does_what_is_promised() {
    let temp = tempfile::tempdir().unwrap();
    // Taken by this or by somebody else.
    let _taken = TcpListener::bind("127.0.0.1:9901");
    let mut demo = Demo::start(temp.path());
    assert!(demo.printed.starts_with("meshup demo: starting"), "{}", demo.printed);
    assert!(demo.printed.contains("port 9901 is taken; using port "), "{}", demo.printed);

    let (mut expected, mut run) = (VecDeque::new(), 0);
    for line in demo.printed.lines() {
        match line.strip_prefix("    ") {
            Some(command) if command.starts_with("curl ") => {
                let (path, status, body) = curl(command);
                assert_eq!(Some(status), expected.pop_front(), "{command}\n{body}");
                for part in promised(&path, status) {
                    assert!(body.contains(part), "{command}: no {part:?} in\n{body}");
                }
                run += 1;
            }
            Some(command) => sh(command),
            None => expected.extend(statuses(line)),
        }
    }
    assert_eq!((run, expected.len()), (24, 0), "{}", demo.printed);

    assert_eq!(demo.interrupt(), 0);
    let left: Vec<_> = temp.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["cache"]);
}
