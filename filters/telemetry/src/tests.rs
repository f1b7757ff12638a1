use meshup_sdk::testing::{self, Reply, Tester, json};
use serde_json::Value;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn tester(config: Value) -> Tester {
    testing::filter(telemetry).config(config)
}

fn ok(_: &testing::SentRequest) -> Response {
    Response::new(200)
}

fn labels<'a>(method: &'a str, status: &'a str) -> [(&'static str, &'a str); 3] {
    [("route", "test"), ("method", method), ("status", status)]
}

#[test]
fn exchanges_are_counted_and_measured_by_route_method_and_status() {
    let mut tester = tester(json!({}));
    for _ in 0..2 {
        let done = tester.run(Request::post("/").with_body("four"), |_| {
            Reply::from(Response::new(201).with_body("12345")).after(Duration::from_millis(250))
        });
        assert!(done.passed);
    }
    tester.run(Request::get("/"), |_| Response::new(404));
    let created = labels("POST", "201");
    assert_eq!(tester.metric("http_requests_total", created), [2.0]);
    assert_eq!(tester.metric("http_request_duration_seconds", created), [0.25, 0.25]);
    assert_eq!(tester.metric("http_request_size_bytes", created), [4.0, 4.0]);
    assert_eq!(tester.metric("http_response_size_bytes", created), [5.0, 5.0]);
    assert_eq!(tester.metric("http_requests_total", labels("GET", "404")), [1.0]);
    assert_eq!(tester.metric("http_requests_in_flight", [("route", "test")]), [0.0]);
}

#[test]
fn an_exchange_whose_client_went_away_is_counted_with_status_0() {
    for response_header in [false, true] {
        let mut tester =
            tester(json!({ "response_header": response_header, "access_log": { "fields": ["status", "outcome"] } }));
        let done = tester.run(Request::get("/"), |_| Reply::client_gone());
        assert!(done.cancelled);
        assert_eq!(tester.metric("http_requests_total", labels("GET", "0")), [1.0]);
        assert_eq!(tester.metric("http_requests_in_flight", [("route", "test")]), [0.0]);
        assert_eq!(tester.logs()[0].text, r#"{"status":0,"outcome":"client-abort"}"#);
    }
}

#[test]
fn methods_that_clients_invent_make_one_series() {
    let mut tester = tester(json!({}));
    for method in ["BREW", "get", "PROPFIND"] {
        tester.run(Request::new(method, "/"), ok);
    }
    assert_eq!(tester.metric("http_requests_total", labels("OTHER", "200")), [3.0]);
    assert!(tester.metric("http_requests_total", labels("BREW", "200")).is_empty());
}

#[test]
fn routes_have_series_of_their_own() {
    let mut tester = tester(json!({}));
    tester.run(Request::get("/"), ok);
    let mut tester = tester.attribute(Attribute::Route, "orders");
    tester.run(Request::get("/"), ok);
    tester.run(Request::get("/"), ok);
    assert_eq!(tester.metric("http_requests_total", labels("GET", "200")), [1.0]);
    let orders = [("route", "orders"), ("method", "GET"), ("status", "200")];
    assert_eq!(tester.metric("http_requests_total", orders), [2.0]);
}

#[test]
fn what_is_switched_off_is_not_done() {
    let mut tester = tester(json!({ "metrics": false, "trace_context": false, "request_id": false }));
    let done = tester.run(Request::get("/").with_header("traceparent", PARENT).with_header("tracestate", "a=1"), ok);
    assert_eq!(done.sent[0].headers.len(), 2);
    assert_eq!(done.sent[0].header("traceparent"), Some(PARENT));
    assert!(tester.metric("http_requests_total", labels("GET", "200")).is_empty());
    assert!(tester.logs().is_empty());
}

#[test]
fn a_trace_is_continued_with_a_span_of_its_own() {
    let mut tester = tester(json!({ "sample": 0.0 }));
    let mut spans = Vec::new();
    for _ in 0..2 {
        let req = Request::get("/").with_header("Traceparent", PARENT).with_header("tracestate", "a=1");
        let done = tester.run(req, ok);
        let sent = done.sent[0].header("traceparent").unwrap().to_owned();
        assert_eq!((sent.len(), &sent[..36], &sent[52..]), (55, &PARENT[..36], "-01"));
        assert_eq!(done.sent[0].header("tracestate"), Some("a=1"));
        spans.push(sent[36..52].to_owned());
    }
    assert_ne!(spans[0], spans[1]);
    assert!(!spans.iter().any(|span| PARENT.contains(span.as_str())));
}

#[test]
fn a_trace_begins_where_there_is_no_valid_one() {
    let mut two = Request::get("/").with_header("traceparent", PARENT).with_header("tracestate", "a=1");
    two.headers_mut().append("traceparent", PARENT);
    let invalid = Request::get("/").with_header("traceparent", &PARENT[1..]).with_header("tracestate", "a=1");
    for (share, flags) in [(1.0, "-01"), (0.0, "-00")] {
        let mut tester = tester(json!({ "sample": share }));
        for req in [&two, &invalid, &Request::get("/")] {
            let mut copy = Request::get("/");
            req.headers().iter().for_each(|(name, value)| copy.headers_mut().append(name, value));
            let done = tester.run(copy, ok);
            let headers = &done.sent[0].headers;
            assert_eq!(headers.iter().filter(|(name, _)| name == "traceparent").count(), 1);
            let sent = done.sent[0].header("traceparent").unwrap();
            assert_eq!((sent.len(), &sent[..3], &sent[52..]), (55, "00-", flags));
            assert_ne!(&sent[3..35], &PARENT[3..35]);
            assert_eq!(done.sent[0].header("tracestate"), None);
        }
    }
}

#[test]
fn the_upstream_gets_the_request_id_and_the_client_where_wanted() {
    for (response_header, expected) in [(false, None), (true, Some("id-1"))] {
        let mut tester = tester(json!({ "response_header": response_header })).attribute(Attribute::RequestId, "id-1");
        for client in ["id-1", "not valid", ""] {
            let done = tester.run(Request::get("/").with_header("x-request-id", client), ok);
            assert_eq!((done.sent[0].header("x-request-id"), done.header("x-request-id")), (Some("id-1"), expected));
            assert_eq!(done.sent[0].headers.iter().filter(|(name, _)| name == "x-request-id").count(), 1);
        }
    }
}

fn requested() -> Request {
    Request::post("/a\"b?token=1")
        .with_authority("orders.example")
        .with_header("user-agent", b"agent\t\"x\\\xff")
        .with_header("referer", "http://r.example/")
        .with_body("four")
}

fn answered(_: &testing::SentRequest) -> Reply {
    Reply::from(Response::new(200).with_header("grpc-status", "7").with_body("12345"))
        .after(Duration::from_micros(1500))
}

#[test]
fn every_field_stands_in_the_json_line_in_the_order_of_the_configuration() {
    let fields = [
        "client",
        "method",
        "authority",
        "path",
        "query",
        "protocol",
        "status",
        "duration",
        "upstream_duration",
        "request_bytes",
        "response_bytes",
        "route",
        "upstream",
        "endpoint",
        "request_id",
        "user_agent",
        "referer",
        "outcome",
        "grpc_status",
        "variable.who",
    ];
    let mut tester = tester(json!({ "access_log": { "format": "json", "fields": fields } }));
    tester.run(requested(), |sent| {
        exchange::set_variable("who", "alice").unwrap();
        answered(sent)
    });
    let line = tester.logs().remove(0).text;
    let expected = r#"{"client":"192.0.2.1","method":"POST","authority":"orders.example","path":"/a\"b","query":"token=1",
        "protocol":"HTTP/1.1","status":200,"duration":0.001500,"upstream_duration":0.001500,"request_bytes":4,
        "response_bytes":5,"route":"test","upstream":"test","endpoint":null,"request_id":"test-request",
        "user_agent":"agent\t\"x\\�","referer":"http://r.example/","outcome":"complete","grpc_status":7,
        "variable.who":"alice"}"#;
    assert_eq!(line, expected.lines().map(str::trim).collect::<String>());
    serde_json::from_str::<Value>(&line).unwrap();
}

#[test]
fn a_log_without_fields_has_the_default_ones() {
    let mut tester = tester(json!({ "access_log": {} }));
    let done = tester.run(requested(), answered);
    let line: Value = serde_json::from_str(&tester.logs()[0].text).unwrap();
    let trace = done.sent[0].header("traceparent").unwrap();
    assert_eq!((&line["trace_id"], line.as_object().unwrap().len()), (&json!(trace[3..35]), 16));
    assert!(line.get("query").is_none());
    let time = line["time"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 24, "{time}");
}

#[test]
fn common_and_combined_lines_have_their_form() {
    let tester = |format: &str| {
        let mut tester = tester(json!({ "access_log": { "format": format } }));
        tester.run(requested(), answered);
        tester.logs().remove(0).text
    };
    let (common, combined) = (tester("common"), tester("combined"));
    let (start, end) = common.split_once('[').unwrap();
    let (time, end) = end.split_once(']').unwrap();
    assert_eq!((start, end), ("192.0.2.1 - - ", r#" "POST /a\"b?token=1 HTTP/1.1" 200 5"#));
    assert!(time.len() == 26 && time.ends_with(" +0000"), "{time}");
    assert!(combined.ends_with(r#" 200 5 "http://r.example/" "agent\x09\"x\\�""#), "{combined}");
}

#[test]
fn refusals_name_the_key() {
    for (config, expected) in [
        (json!({ "sample": 1.5 }), "sample: not within 0 and 1"),
        (json!({ "sampel": 1 }), "unknown field `sampel`"),
        (json!({ "metrics": "yes" }), "metrics: invalid type"),
        (json!({ "response_header": true, "request_id": false }), "response_header: there is no request id"),
        (
            json!({ "access_log": { "fields": ["stauts"] } }),
            r#"access_log.fields[0]: unknown field "stauts", expected one of time, client"#,
        ),
        (json!({ "access_log": { "fields": ["variable."] } }), "access_log.fields[0]: unknown field"),
        (json!({ "access_log": { "fields": [] } }), "access_log.fields: empty"),
        (json!({ "access_log": { "fields": ["time", "path", "time"] } }), "access_log.fields: time stands there twice"),
        (json!({ "access_log": { "format": "common", "fields": ["time"] } }), "access_log.fields: only the format"),
        (json!({ "access_log": { "format": "xml" } }), "access_log.format: unknown variant `xml`, expected one of"),
    ] {
        let message = tester(config).configure().unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}
