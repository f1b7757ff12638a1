//! The cases of targets, hosts and header fields in HTTP/1 requests, by their numbers.

use crate::support::{Client, Message, Origin, Process, Protocol, Proxy, Wire, Witness, filter, full, soon, upstream};
use http::Response;

fn with_host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\n{host}\r\n")
}

#[tokio::test]
async fn case_17_hosts_that_are_not_one_host() {
    let mut witness = Witness::new().await;
    for lines in [
        "",
        "Host:\r\n",
        "Host: \r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a, b\r\n",
        "Host: a,a\r\n",
        "Host: ,\r\n",
        "Host: a b\r\n",
        "Host: a\r\nX: y\r\nhost: b\r\n",
        "Host:\r\nHost: a\r\n",
    ] {
        witness.refuses(with_host(lines), &[400]).await;
    }
    witness.refuses("GET http://a/ HTTP/1.1\r\n\r\n", &[400]).await;
    witness.refuses("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400]).await;
    assert_eq!(witness.forwards("GET /old HTTP/1.0\r\n\r\n").await.start, "GET /old HTTP/1.1");
}

#[tokio::test]
async fn case_18_hosts_with_more_than_a_host_and_a_port() {
    let mut witness = Witness::new().await;
    for host in [
        "u@a", "u:p@a", "a/b", "a/", "a?b", "a#b", "a\\b", "http://a", "a:b", "a:", "a:-1", "a:99999", "a:80:80",
        "a:+80", "[::1", "::1", "[::1]x", "[zz]", "a%00b", "%61", "a%2fb", ":80", "@a", "a@", "\u{e9}", "a\tb", "a|b",
        "<a>", "\"a\"",
    ] {
        if host != "a:" {
            witness.refuses(with_host(&format!("Host: {host}\r\n")), &[400]).await;
        }
    }
    for host in ["a", "A.Example.", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b", "xn--e1afmkfd.example"]
    {
        let received = witness.forwards(with_host(&format!("Host: {host}\r\n"))).await;
        assert_eq!(received.field("host"), Some(host));
    }
}

#[tokio::test]
async fn case_18_a_target_that_names_another_host() {
    let mut witness = Witness::new().await;
    for (target, host) in [
        ("http://b/", "a"),
        ("http://a:81/", "a"),
        ("http://u@a/", "a"),
        ("http://u@a/", "u@a"),
        ("http://a@b/", "a"),
        ("http:///", "a"),
        ("http://", "a"),
        ("ftp://a/", "a"),
        ("file://a/", "a"),
        ("javascript://a/", "a"),
        ("http://a\\@b/", "a"),
        ("http:/a", "a"),
        ("a", "a"),
        ("a:80", "a:80"),
        ("a/b", "a"),
        ("?x", "a"),
        ("@a/", "a"),
        ("*", "a"),
    ] {
        witness.refuses(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400]).await;
    }
    witness.refuses("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", &[400, 405]).await;
    for (target, host, line, authority) in [
        ("http://a/x?y", "a", "GET /x?y HTTP/1.1", "a"),
        ("http://a", "a", "GET / HTTP/1.1", "a"),
        ("HTTP://A:80/x", "a", "GET /x HTTP/1.1", "A:80"),
        ("http://a?y", "a:80", "GET /?y HTTP/1.1", "a"),
        ("https://a/", "a:443", "GET / HTTP/1.1", "a"),
        ("http://a/b/../%63", "a", "GET /c HTTP/1.1", "a"),
    ] {
        let received = witness.forwards(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((&*received.start, received.field("host")), (line, Some(authority)), "{target}");
    }
}

const ODD_PATHS: &str = "/a%2fb /a%2Fb /a%5cb /a%5Cb /a\\b /%00 /a%00.txt /%0d%0aX:%20y /%7f /%c0%af /%c0%ae%c0%ae/ \
    /%e0%80%af /%ff /\u{e9} /?\u{e9} /% /%2 /%zz /%u002e /.. /../a /%2e%2e/a /a/..;/b /a#b /# /a?b#c";

#[tokio::test]
async fn case_19_paths_that_readers_disagree_about() {
    let mut witness = Witness::new().await;
    for path in ODD_PATHS.split(' ') {
        witness.refuses(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), &[400]).await;
    }
    for byte in (0..=b' ').chain([0x7f, 0x80, 0xff]) {
        let request = [b"GET /a".as_slice(), &[byte], b"b HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        witness.refuses(request, &[400]).await;
    }
}

#[tokio::test]
async fn case_19_one_normal_form_of_the_path() {
    let (origin, mut received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let routes =
        "[[routes]]\nmatch = { path_prefix = \"/admin\" }\nupstream = \"nobody\"\n[[routes]]\nupstream = \"origin\"\n";
    let proxy = Proxy::start(&format!(
        "{routes}{}[upstreams.nobody]\nendpoints = [\"127.0.0.1:1\"]\n",
        upstream("origin", Protocol::Http1, &[origin.address])
    ));
    let ask = async |target: &str| {
        let mut wire = Wire::connect(proxy.address()).await;
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        wire.message().await.unwrap().status()
    };
    for target in
        ["/admin", "/./admin", "//admin", "/a/../admin", "/%61dmin", "/x/%2e%2e/admin/", "/admin//x", "http://a//admin"]
    {
        assert_eq!(ask(target).await, 503, "{target} takes the route of /admin");
    }
    for (target, expected) in [
        ("/", "/"),
        ("/a/./b//c/../d", "/a/b/d"),
        ("/a;x=1/b?q=/../%2f//&r=%zz", "/a;x=1/b?q=/../%2f//&r=%zz"),
        ("/%7euser/%c3%a9", "/~user/%C3%A9"),
        ("/a%20b%3fc%23d%25", "/a%20b%3Fc%23d%25"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/b/..", "/a/"),
        ("/a?", "/a?"),
        ("/a|b", "/a%7Cb"),
        ("/%252e%252e/", "/%252e%252e/"),
    ] {
        assert_eq!(ask(target).await, 200, "{target}");
        assert_eq!(received.recv().await.unwrap().start, format!("GET {expected} HTTP/1.1"), "{target}");
    }
}

#[tokio::test]
async fn case_19_other_forms_are_the_listeners_choice() {
    let mut relaxed = Witness::with("path_normalization = \"relaxed\"").await;
    for path in ["/a/..%2fb", "/a%5c..%5cb", "/%00", "/%zz", "/../a"] {
        relaxed.refuses(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), &[400]).await;
    }
    let start = async |witness: &mut Witness, path: &str| {
        let message = witness.forwards(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        message.start.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(start(&mut relaxed, "/a%2fb//c/../%ff").await, "/a%2Fb//%FF");
    let mut off = Witness::with("path_normalization = \"off\"").await;
    for path in ["/a/../b", "//a", "/a%2fb/%2e%2e", "/%zz"] {
        assert_eq!(start(&mut off, path).await, path);
    }
}

#[tokio::test]
async fn case_20_connection_cannot_take_off_what_the_proxy_sets() {
    let mut witness = Witness::new().await;
    let names = "close, x-forwarded-for, X-Forwarded-Proto, x-forwarded-host, host, content-length, authorization, cookie, x-mine";
    let received = witness
        .forwards(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: {names}\r\nContent-Length: 2\r\nAuthorization: b\r\nCookie: c\r\n\
             X-Mine: d\r\nProxy: evil\r\nProxy-Authorization: e\r\nKeep-Alive: f\r\n\r\nhi"
        ))
        .await;
    for (name, expected) in [
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("a")),
        ("host", Some("a")),
        ("content-length", Some("2")),
        ("authorization", Some("b")),
        ("cookie", Some("c")),
        ("x-mine", None),
        ("proxy", None),
        ("proxy-authorization", None),
        ("keep-alive", None),
        ("connection", None),
    ] {
        assert_eq!(received.field(name), expected, "{name}");
    }
    assert_eq!(received.text(), "hi");
}

#[tokio::test]
async fn case_20_connection_of_a_response_takes_off_only_its_own() {
    let (origin, _received) = Origin::canned(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: set-cookie, content-security-policy, x-mine\r\nSet-Cookie: a=b\r\n\
         Content-Security-Policy: x\r\nX-Mine: y\r\nProxy-Connection: z\r\n\r\nok",
    )
    .await;
    let proxy = Proxy::before(&origin, Protocol::Http1);
    let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
    let fields = ["set-cookie", "content-security-policy", "x-mine", "proxy-connection", "connection"];
    assert_eq!(fields.map(|name| answer.header(name)), ["a=b", "x", "", "", ""]);
}

/// What a client would like the upstream to believe.
const CLAIMS: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
    X-Forwarded-Port: 1\r\nX-Forwarded-Client-Cert: z\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Original-URL: /admin\r\n\
    X-Rewrite-URL: /admin\r\nX_Forwarded_For: 6.6.6.6\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\nX-Own: 1\r\n";

fn names(message: &Message) -> Vec<&str> {
    let mut names: Vec<_> = message.fields.iter().map(|field| &*field.0).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn case_21_what_an_untrusted_client_says_about_itself() {
    let mut witness = Witness::new().await;
    let received = witness.forwards(format!("GET / HTTP/1.1\r\nHost: a\r\n{CLAIMS}\r\n")).await;
    assert_eq!(names(&received), ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-own"]);
    assert_eq!(received.field("x-forwarded-for"), Some("127.0.0.1"));
    let received = witness.forwards("GET / HTTP/1.0\r\nX-Forwarded-Host: evil\r\n\r\n").await;
    assert_eq!(received.field("x-forwarded-host"), None);
}

#[tokio::test]
async fn case_21_underscores_are_the_listeners_choice() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX_Own: 1\r\nX-A-Name-Of-More_Bytes: 2\r\n\r\n";
    assert_eq!(Witness::new().await.forwards(request).await.field("x_own"), None);
    Witness::with("underscores_in_headers = \"reject\"").await.refuses(request, &[400]).await;
    let allowed = Witness::with("underscores_in_headers = \"allow\"").await.forwards(request).await;
    assert_eq!((allowed.field("x_own"), allowed.field("x-a-name-of-more_bytes")), (Some("1"), Some("2")));
}

#[tokio::test]
async fn case_22_header_injection_by_a_filter() {
    let origin = Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await;
    for change in [
        r#"x-a = "b\r\nX-Evil: 1""#,
        r#"x-a = "b\nX-Evil: 1""#,
        r#"x-a = "b\u0000""#,
        r#""x-a\r\nx-evil" = "1""#,
        r#""" = "1""#,
        r#"":path" = "/admin""#,
        r#"":authority" = "evil""#,
        r#""x a" = "1""#,
        r#""x:a" = "1""#,
        r#"host = "evil""#,
        r#"content-length = "9""#,
        r#"transfer-encoding = "chunked""#,
        r#"connection = "x-forwarded-for""#,
        r#"te = "gzip""#,
        r#"upgrade = "h2c""#,
        r#"PATH = "admin""#,
        r#"PATH = "/a#b""#,
        r#"PATH = "/a b""#,
        r#"PATH = "/a\r\nX: y""#,
        r#"PATH = "http://evil/""#,
        r#"METHOD = "CONNECT""#,
        r#"METHOD = "G T""#,
        r#"METHOD = "GET / HTTP/1.1\r\nX: y""#,
        r#"AUTHORITY = "u@evil""#,
        r#"AUTHORITY = "a/b""#,
        r#"AUTHORITY = "a\r\nX: y""#,
    ] {
        let proxy = Proxy::start(&format!(
            "[[routes]]\nfilters = [\"f\"]\nupstream = \"origin\"\n{}{}",
            upstream("origin", Protocol::Http1, &[origin.address]),
            filter("f", &format!("{{ change = {{ {change} }} }}"))
        ));
        let answer = Client::to(&proxy, Protocol::Http1).await.get("/").await;
        assert_eq!(answer.outcome(), (503, "filter-fault"), "{change}");
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn case_23_log_lines_cannot_be_forged() {
    let origin = Origin::http(Protocol::Http1, |_| async { Response::new(full("ok")) }).await;
    let process = Process::run(&format!(
        "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         [[routes]]\nfilters = [\"log\"]\nupstream = \"origin\"\n{}[filters.log]\nmodule = \"builtin:telemetry\"\n\
         config = {{ access_log = {{ format = \"combined\" }} }}\n",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
    .await;
    let mut wire = Wire::connect(process.address()).await;
    let hostile = "a\" \\\" \u{9b}31m {\"level\":\"ERROR\"} %0d%0a\u{85}end-of-agent";
    wire.send(format!("GET /%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: {hostile}\r\nReferer: \u{2028}\r\n\r\n")).await;
    assert_eq!(wire.message().await.unwrap().status(), 200);
    let line = soon("the access log", async {
        loop {
            if let Some(line) = process.log().lines().find(|line| line.contains("end-of-agent")) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!line.contains(['\u{9b}', '\u{85}', '\x1b']), "{line:?}");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "INFO");
}

#[tokio::test]
async fn case_24_heads_of_any_size() {
    let mut witness = Witness::new().await;
    let get = |more: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    witness.refuses(get(&format!("X: {}\r\n", "x".repeat(1 << 20))), &[431]).await;
    witness.refuses(get(&format!("{}: x\r\n", "x".repeat(1 << 20))), &[431]).await;
    witness.refuses(get(&"X: y\r\n".repeat(101)), &[431]).await;
    witness.refuses(get(&format!("X: {}\r\n", "y".repeat(1000)).repeat(99)), &[431]).await;
    witness.refuses(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64 << 10)), &[414, 431]).await;
    witness.refuses(format!("GET http://a/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20)), &[414, 431]).await;
    witness.refuses(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "X".repeat(1 << 20)), &[400]).await;
    witness.refuses(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "X".repeat(65)), &[400]).await;
    witness.refuses("\r\n".repeat(1 << 16), &[400, 431]).await;
    witness.forwards(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(60 << 10))).await;
    witness.forwards(get(&"X: y\r\n".repeat(96))).await;
}
