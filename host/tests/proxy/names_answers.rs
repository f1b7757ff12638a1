//! What name servers answer: aliases, halves of answers, nothing at all.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, CNAME},
};

use crate::{
    names::{AT_ONCE, NAME, Reloaded, answers, ask, config, is_told, metrics, named, shares, told},
    support::{
        Client, NameServer, Protocol, Proxy, Saying, eventually,
        place::{FIRST, Place, SECOND, SIXTH},
    },
};

fn alias(of: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(of).unwrap()))
}

fn address(ip: IpAddr) -> RData {
    let IpAddr::V4(ip) = ip else { unreachable!("an IPv4 address") };
    RData::A(A(ip))
}

#[tokio::test]
async fn a_chain_of_aliases_is_followed_and_looked_up_by_its_least_time_to_live() {
    let [first, _second] = Place::open_all([FIRST, SECOND]).await;
    let server = NameServer::start();
    let chain = |ip| {
        Saying::Whole(vec![
            ("orders.example.", 3600, alias("a.example.")),
            ("a.example.", 0, alias("b.example.")),
            ("b.example.", 3600, address(ip)),
        ])
    };
    let to_nowhere = Saying::Whole(vec![("orders.example.", 3600, alias("a.example."))]);
    server.say_to(NAME, RecordType::A, chain(FIRST));
    server.say_to(NAME, RecordType::AAAA, to_nowhere);
    let proxy = Proxy::start(&config(&server, &named(first.address.port())));
    assert_eq!(ask(&proxy).await, FIRST.to_string());
    server.say_to(NAME, RecordType::A, chain(SECOND));
    answers(&proxy, SECOND).await;
}

#[tokio::test]
async fn an_alias_that_the_server_does_not_follow_is_asked_for() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.say(NAME, &Saying::Whole(vec![("orders.example.", 60, alias("a.example."))]));
    server.host("a.example", 60, &[FIRST]);
    let proxy = Proxy::start(&config(&server, &named(first.address.port())));
    assert_eq!(ask(&proxy).await, FIRST.to_string());
}

#[tokio::test]
async fn aliases_that_go_round_are_a_failure() {
    let server = NameServer::start();
    server.say(NAME, &Saying::Whole(vec![("orders.example.", 60, alias("a.example."))]));
    server.say("a.example", &Saying::Whole(vec![("a.example.", 60, alias("orders.example."))]));
    let proxy = Proxy::start(&config(&server, &named(1)));
    is_told(&proxy, &named(1), "failing").await;
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.outcome(), (503, "no-upstream"));
}

#[tokio::test]
async fn case_48_dns_timeout_of_one_family_does_not_hold_up_the_other() {
    let [first, _sixth] = Place::open_all([FIRST, SIXTH]).await;
    for (silent, expected) in [(RecordType::AAAA, FIRST), (RecordType::A, SIXTH)] {
        let server = NameServer::start();
        server.host(NAME, 60, &[FIRST, SIXTH]);
        server.say_to(NAME, silent, Saying::Nothing);
        let proxy = Proxy::start(&config(&server, &named(first.address.port())));
        let all = HashMap::from([(expected.to_string(), 4)]);
        assert_eq!(shares(&proxy, 4).await, all, "from the first request on without {silent}");
    }
}

#[tokio::test]
async fn case_48_dns_timeout_of_one_host_of_a_service_does_not_hold_up_the_others() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.host("one.example", 60, &[FIRST]);
    server.say("two.example", &Saying::Nothing);
    let port = first.address.port();
    server.service("_http._tcp.orders.example", 60, &[(1, 1, port, "one.example"), (1, 1, port, "two.example")]);
    let endpoint = "srv:_http._tcp.orders.example";
    let dns = server.config();
    let config = config(&server, endpoint).replace(&dns, &format!("{dns}timeout = \"900ms\"\n"));
    let proxy = Proxy::start(&config);
    assert_eq!(ask(&proxy).await, FIRST.to_string());
    is_told(&proxy, endpoint, "resolved").await;
}

#[tokio::test]
async fn case_48_dns_dead_at_the_start_serves_what_needs_no_name() {
    let [first] = Place::open_all([FIRST]).await;
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = named(first.address.port());
    let begin = Instant::now();
    let proxy = Proxy::start(&format!(
        "[dns]\nservers = [\"{closed}\"]\n[[routes]]\nname = \"known\"\nmatch = {{ path = \"/known\" }}\nupstream = \"known\"\n\
         [[routes]]\nname = \"named\"\nupstream = \"origin\"\n[upstreams.known]\nendpoints = [\"{}\"]\n\
         [upstreams.origin]\nendpoints = [\"{endpoint}\"]\n",
        first.address
    ));
    assert!(begin.elapsed() < AT_ONCE);
    let client = Client::to(&proxy, Protocol::Http1).await;
    assert_eq!(client.get("/known").await.outcome(), (200, ""));
    assert_eq!(client.get("/").await.outcome(), (503, "no-upstream"));
    let told = is_told(&proxy, &endpoint, "failing").await;
    assert_eq!(told["names"][&endpoint]["addresses"], 0);
    assert!(metrics(&proxy).await.contains(&format!("meshup_dns_lookups_total{{name=\"{endpoint}\"")));
}

#[tokio::test]
async fn case_48_dns_a_reload_with_a_name_that_fails_keeps_the_one_that_does_not() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.host(NAME, 1, &[FIRST]);
    let port = first.address.port();
    let config = config(&server, &named(port));
    let reloaded = Reloaded::start(&config);
    server.say(NAME, &Saying::FAILURE);
    let asked = server.asked(NAME, RecordType::A).len();
    eventually("the look-up fails", || server.asked(NAME, RecordType::A).len() > asked).await;
    reloaded.reload(&config.replace(NAME, &format!("missing.example:1\", \"{NAME}"))).await;
    assert_eq!(ask(&reloaded.proxy).await, FIRST.to_string());
    let told = told(&reloaded.proxy).await;
    assert_eq!(told["names"]["missing.example:1"]["state"], "failing");
    assert_eq!(told["endpoints"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_name_found_later_than_its_first_look_up_is_used_when_it_is() {
    let [first] = Place::open_all([FIRST]).await;
    let server = NameServer::start();
    server.say(NAME, &Saying::Nothing);
    let dns = server.config();
    let quick = config(&server, &named(first.address.port())).replace(&dns, &format!("{dns}timeout = \"300ms\"\n"));
    let begin = Instant::now();
    let proxy = Proxy::start(&quick);
    assert!(begin.elapsed() < Duration::from_secs(2), "a start waits for the first outcome, not for an address");
    server.host(NAME, 60, &[FIRST]);
    answers(&proxy, FIRST).await;
}
