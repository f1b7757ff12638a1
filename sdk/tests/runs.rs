//! What goes to the host and comes back when a filter runs, runs again, passes on or answers.

use meshup_sdk::{
    prelude::*,
    testing::{self, Reply},
};

#[test]
fn the_first_run_sends_changes_and_a_later_one_the_whole_head() {
    async fn twice(mut req: Request, next: Next) -> Response {
        req.headers_mut().set("x-a", "1");
        req.headers_mut().remove("x-secret");
        let _ = next.run(&req).await;
        req.headers_mut().append("x-b", "2");
        req.set_path("/again?x=1");
        req.set_upstream("other");
        next.run(&req).await
    }
    let req = Request::get("/first").with_header("x-secret", "s").with_header("content-length", "0");
    let done = testing::filter(twice).run(req, |_| Response::new(200));
    let [first, second] = &done.sent[..] else { panic!("two runs, not {}", done.sent.len()) };
    assert_eq!((first.path.as_str(), first.header("x-a"), first.header("x-secret")), ("/first", Some("1"), None));
    assert_eq!(
        (second.path.as_str(), second.header("x-a"), second.header("x-b")),
        ("/again?x=1", Some("1"), Some("2"))
    );
    assert_eq!((second.header("x-secret"), second.upstream.as_deref()), (None, Some("other")));
    assert_eq!(second.method, "GET");
}

#[test]
fn a_replaced_request_body_goes_with_every_run() {
    async fn replace(mut req: Request, next: Next) -> Response {
        req.set_body("new");
        let _ = next.run(&req).await;
        next.run(&req).await
    }
    let done = testing::filter(replace).run(Request::post("/").with_body("old"), |_| Response::new(200));
    assert!(done.sent.iter().all(|sent| sent.body == b"new"));
}

#[test]
fn a_passed_request_brings_its_changes() {
    async fn pass(mut req: Request, next: Next) -> Response {
        req.headers_mut().set("x-last", "yes");
        req.set_timeout(Duration::from_secs(3));
        next.pass(req)
    }
    let done = testing::filter(pass).run(Request::get("/").with_header("a", "b"), |_| Response::new(200));
    assert!(done.passed);
    assert_eq!((done.sent[0].header("x-last"), done.sent[0].header("a")), (Some("yes"), Some("b")));
    assert_eq!(done.sent[0].timeout, Some(Duration::from_secs(3)));
}

#[test]
fn the_latest_response_is_delivered_with_its_body() {
    async fn mark(req: Request, next: Next) -> Response {
        let mut res = next.run(&req).await;
        res.headers_mut().set("x-mark", "1");
        res.set_status(203);
        res
    }
    let done = testing::filter(mark).run(Request::get("/"), |_| Response::new(200).with_body("streamed"));
    assert_eq!((done.status(), done.header("x-mark"), done.text()), (203, Some("1"), "streamed"));
}

/// Runs twice and returns the first response, having done to it what the path says.
async fn first_of_two(req: Request, next: Next) -> Response {
    let mut first = next.run(&req).await;
    match req.path() {
        "/read" => drop(first.body(100).await),
        "/replace" => first.set_body("mine"),
        _ => {}
    }
    let _ = next.run(&req).await;
    first
}

#[test]
fn an_older_response_can_be_returned_when_its_body_is_here() {
    let mut tester = testing::filter(first_of_two);
    for (path, expected) in [("/read", "body"), ("/replace", "mine")] {
        let done = tester.run(Request::get(path), |sent| {
            Response::new(200 + sent.attempt as u16).with_header("x-run", sent.attempt.to_string()).with_body("body")
        });
        assert_eq!((done.status(), done.header("x-run"), done.text()), (201, Some("1"), expected));
    }
    let empty = tester.run(Request::get("/"), testing::statuses([204, 200]));
    assert_eq!((empty.status(), empty.text()), (204, ""));
}

#[test]
#[should_panic(expected = "whose body went when `next.run` was called again")]
fn an_older_response_cannot_be_returned_without_its_body() {
    testing::filter(first_of_two).run(Request::get("/"), |_| Response::new(200).with_body("body"));
}

#[test]
fn the_body_of_an_older_response_is_gone() {
    async fn late(req: Request, next: Next) -> Response {
        let mut first = next.run(&req).await;
        let _ = next.run(&req).await;
        assert_eq!(first.body(10).await, Err(BodyError::Gone));
        204.into_response()
    }
    assert_eq!(testing::filter(late).run(Request::get("/"), |_| Response::new(200).with_body("x")).status(), 204);
}

#[test]
fn bodies_are_read_up_to_a_limit_and_flow_on() {
    async fn measure(mut req: Request, next: Next) -> Response {
        let size = match req.body(5).await {
            Ok(body) => body.len(),
            Err(error) => return error.into_response(),
        };
        req.headers_mut().set("x-size", size.to_string());
        next.pass(req)
    }
    let mut tester = testing::filter(measure);
    let kept = tester.run(Request::post("/").with_body("12345"), |_| Response::new(200));
    assert_eq!((kept.sent[0].header("x-size"), &kept.sent[0].body[..]), (Some("5"), &b"12345"[..]));
    let broken = tester.run(Request::post("/").with_body("123456"), |_| Response::new(200));
    assert_eq!((broken.status(), broken.sent.len()), (413, 0));
}

#[test]
fn a_response_body_can_be_replaced() {
    async fn shout(req: Request, next: Next) -> Response {
        let mut res = next.run(&req).await;
        let loud = res.body(100).await.unwrap_or_default().to_ascii_uppercase();
        res.set_body(loud);
        res
    }
    let done = testing::filter(shout).run(Request::get("/"), |_| Response::new(200).with_body("hello"));
    assert_eq!(done.text(), "HELLO");
}

#[test]
fn a_request_that_cannot_be_replayed_says_so() {
    async fn insist(req: Request, next: Next) -> Response {
        let first = next.run(&req).await;
        assert!(!first.replayable());
        let second = next.run(&req).await;
        assert_eq!(second.error(), Some(ErrorKind::ReplayLimit));
        second
    }
    let mut tester = testing::filter(insist).without_replay();
    let done = tester.run(Request::post("/").with_body("large"), |_| Response::new(503));
    assert_eq!(done.error(), Some(ErrorKind::ReplayLimit));
}

#[test]
fn host_errors_and_deadlines_are_told_apart() {
    async fn classify(req: Request, next: Next) -> Response {
        match next.run(&req).timeout(Duration::from_secs(1)).await {
            Ok(res) => (200, res.error().map_or("none", ErrorKind::as_str)).into_response(),
            Err(late) => (200, late.to_string()).into_response(),
        }
    }
    let mut tester = testing::filter(classify);
    let mut said = |reply: Reply| tester.run(Request::get("/"), |_| reply.clone()).text().to_owned();
    assert_eq!(said(Response::new(500).into()), "none");
    assert_eq!(said(Reply::error(ErrorKind::Reset)), "reset");
    assert_eq!(said(Reply::from(Response::new(200)).after(Duration::from_secs(2))), "no response before the deadline");
}

#[test]
fn a_request_of_the_filters_own_replaces_the_clients() {
    async fn replace(_: Request, next: Next) -> Response {
        next.run(&Request::get("/other").with_header("x-own", "1")).await
    }
    let req = Request::post("/").with_header("x-client", "1").with_body("body");
    let done = testing::filter(replace).run(req, |_| Response::new(200));
    let sent = &done.sent[0];
    assert_eq!((sent.method.as_str(), sent.path.as_str(), sent.body.len()), ("GET", "/other", 0));
    assert_eq!((sent.header("x-own"), sent.header("x-client")), (Some("1"), None));
}

#[test]
fn a_fetched_response_can_be_the_answer() {
    async fn mirror(req: Request, _: Next) -> Response {
        fetch("mirror", Request::new(req.method(), req.path()).with_body("ask")).limit(8).await.into_response()
    }
    let mut tester = testing::filter(mirror).on_fetch(|_, sent| match sent.path.as_str() {
        "/large" => Reply::from(Response::new(200).with_body("123456789")),
        "/down" => Reply::error(ErrorKind::ConnectFailure),
        _ => Response::new(201)
            .with_header("x-from", "mirror")
            .with_header("connection", "close")
            .with_body("made")
            .into(),
    });
    let done = tester.run(Request::post("/x"), |_| Response::new(200));
    assert_eq!((done.status(), done.header("x-from"), done.text()), (201, Some("mirror"), "made"));
    let (upstream, sent) = &done.fetched[0];
    assert_eq!((upstream.as_str(), sent.method.as_str(), &sent.body[..]), ("mirror", "POST", &b"ask"[..]));
    assert_eq!(tester.run(Request::get("/large"), |_| Response::new(200)).text(), "fetch failed: limit-exceeded");
    assert_eq!(tester.run(Request::get("/down"), |_| Response::new(200)).text(), "fetch failed: connect-failure");
}
