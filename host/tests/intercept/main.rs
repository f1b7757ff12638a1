//! Transparent interception, in network namespaces that the tests make: an application in one, an origin in another, and
//! between them the proxy, of which the application knows nothing.
//!
//! Needs root, `ip`, `nsenter`, `setpriv`, and `nft` or `iptables`; says what is missing where it cannot run.

mod namespace;
mod origin;
mod proxy;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Output,
    time::Duration,
};

use namespace::{Network, network};
use origin::Origin;
use proxy::Proxy;

/// The user that the proxy runs under; the application is root.
const PROXY_UID: &str = "65532";
const PATIENCE: Duration = Duration::from_secs(20);

const OUTBOUND: &str = r#"
admin.listen = "127.0.0.1:9901"
workers = 1

[[listeners]]
name = "ipv4"
listen = "127.0.0.1:15001"
transparent = true

[[listeners]]
name = "ipv6"
listen = "[::1]:15001"
transparent = true

[[listeners]]
name = "inbound"
listen = "[::]:15006"
transparent = true

[filters.mark]
module = "builtin:rewrite"
config = { request_headers = { set = { x-through = "meshup" } } }

[[routes]]
filters = ["mark"]
upstream = "passthrough"

[upstreams.passthrough]
endpoints = "original_destination"
"#;

/// What a server answers to a request with these bytes; all that comes until it closes.
fn exchange(server: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset after its answer has answered.
    _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(server: SocketAddr) -> String {
    exchange(server, b"GET /orders HTTP/1.1\r\nhost: orders.example\r\nconnection: close\r\n\r\n")
}

/// An application's request out of the application's namespace.
fn ask(network: &Network, server: SocketAddr) -> String {
    network.application.inside(|| request(server))
}

fn went_through(answer: &str) -> bool {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("GET /orders HTTP/1.1") && answer.contains("host: orders.example"), "{answer}");
    answer.contains("x-through: meshup")
}

/// `meshup intercept ARGS` in the application's namespace.
fn intercept(network: &Network, args: &[&str]) -> Output {
    network.application.command(env!("CARGO_BIN_EXE_meshup")).arg("intercept").args(args).output().unwrap()
}

fn done(network: &Network, args: &[&str]) -> String {
    let output = intercept(network, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that the packet filter holds, whoever put it there.
fn all_rules(network: &Network, tool: &str) -> String {
    let listing = |program: &str, args: &[&str]| {
        String::from_utf8(network.application.command(program).args(args).output().unwrap().stdout).unwrap()
    };
    match tool {
        "nft" => listing("nft", &["list", "ruleset"]),
        _ => listing("iptables", &["-t", "nat", "-S"]) + &listing("ip6tables", &["-t", "nat", "-S"]),
    }
}

fn outbound_is_intercepted(tool: &str) {
    let Some(network) = network(tool) else { return };
    let origins = ["10.77.0.2:8000", "[fd77::2]:8000"].map(|address| Origin::start(&network.origin, address));
    let left_alone = ["10.77.0.2:8001", "[fd77::2]:8002"].map(|address| Origin::start(&network.origin, address));
    let _proxy = Proxy::start(&network, OUTBOUND);
    let before = all_rules(&network, tool);
    assert!(!origins.iter().any(|origin| went_through(&ask(&network, origin.address()))));

    let install = ["install", "--tool", tool, "--proxy-uid", PROXY_UID, "--exclude-port", "8001,22"];
    let all = [&install[..], &["--exclude-cidr", "192.0.2.0/24"]].concat();
    done(&network, &all);
    for origin in &origins {
        let answer = ask(&network, origin.address());
        assert!(went_through(&answer), "{answer}");
        // Once: the proxy's own connection was not redirected.
        assert_eq!(origin.requests(), 2);
    }
    assert!(!went_through(&ask(&network, left_alone[0].address())));
    assert!(went_through(&ask(&network, left_alone[1].address())));

    let once = done(&network, &["show"]);
    done(&network, &all);
    assert_eq!(done(&network, &["show"]), once);
    done(&network, &[&install[..], &["--exclude-cidr", "fd77::/64"]].concat());
    assert!(!went_through(&ask(&network, left_alone[1].address())));
    assert!(went_through(&ask(&network, origins[0].address())));

    done(&network, &["remove"]);
    assert!(!origins.iter().any(|origin| went_through(&ask(&network, origin.address()))));
    assert_eq!(emptied(&all_rules(&network, tool)), emptied(&before));
    assert_eq!(intercept(&network, &["show"]).status.code(), Some(1));
    done(&network, &["remove"]);
}

/// The rules without chains that exist by themselves.
fn emptied(rules: &str) -> Vec<&str> {
    rules.lines().filter(|line| !line.starts_with("-P ")).collect()
}

#[test]
fn outbound_connections_are_intercepted_with_nftables() {
    outbound_is_intercepted("nft");
}

#[test]
fn outbound_connections_are_intercepted_with_iptables() {
    outbound_is_intercepted("iptables");
}

fn inbound_is_intercepted(tool: &str) {
    let Some(network) = network(tool) else { return };
    let service = Origin::start(&network.application, "10.77.0.1:8000");
    let service6 = Origin::start(&network.application, "[fd77::1]:8000");
    let health = Origin::start(&network.application, "10.77.0.1:8001");
    let _proxy = Proxy::start(&network, OUTBOUND);
    let install = ["install", "--tool", tool, "--proxy-uid", PROXY_UID, "--inbound-port", "15006"];
    done(&network, &[&install[..], &["--exclude-inbound-port", "8001"]].concat());
    let ask = |server: SocketAddr| network.origin.inside(|| request(server));
    assert!(went_through(&ask(service.address())));
    assert!(went_through(&ask(service6.address())));
    assert!(!went_through(&ask(health.address())));
    done(&network, &["remove"]);
    assert!(!went_through(&ask(service.address())));
}

#[test]
fn inbound_connections_are_intercepted_with_nftables() {
    inbound_is_intercepted("nft");
}

#[test]
fn inbound_connections_are_intercepted_with_iptables() {
    inbound_is_intercepted("iptables");
}

#[test]
fn a_connection_to_the_transparent_listener_itself_is_refused() {
    let Some(network) = network("nft") else { return };
    let _proxy = Proxy::start(&network, OUTBOUND);
    done(&network, &["install", "--tool", "nft", "--proxy-uid", PROXY_UID]);
    for listener in ["127.0.0.1:15001", "[::1]:15001", "10.77.0.1:15006", "[fd77::1]:15006"] {
        let answer = ask(&network, listener.parse().unwrap());
        assert!(answer.starts_with("HTTP/1.1 502"), "{listener}: {answer}");
        assert!(answer.contains("x-meshup-error: no-destination"), "{listener}: {answer}");
    }
}

#[test]
fn what_is_not_http_is_refused_and_reaches_no_origin() {
    let Some(network) = network("nft") else { return };
    let origin = Origin::start(&network.origin, "10.77.0.2:443");
    let _proxy = Proxy::start(&network, OUTBOUND);
    done(&network, &["install", "--tool", "nft", "--proxy-uid", PROXY_UID]);
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03 a TLS client's hello \r\n\r\n";
    let answer = network.application.inside(|| exchange(origin.address(), hello));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_dry_run_prints_the_rules_and_changes_nothing() {
    for tool in ["nft", "iptables"] {
        let Some(network) = network(tool) else { continue };
        let before = all_rules(&network, tool);
        let printed = done(&network, &["install", "--dry-run", "--tool", tool, "--proxy-uid", "7"]);
        assert!(printed.contains("15001") && printed.contains('7'), "{printed}");
        assert_eq!(all_rules(&network, tool), before);
    }
}

#[test]
fn a_destination_nobody_listens_at_is_a_connect_failure() {
    let Some(network) = network("nft") else { return };
    let _proxy = Proxy::start(&network, OUTBOUND);
    done(&network, &["install", "--tool", "nft", "--proxy-uid", PROXY_UID]);
    let answer = ask(&network, "10.77.0.2:9".parse().unwrap());
    assert!(answer.contains("x-meshup-error: connect-failure"), "{answer}");
}
