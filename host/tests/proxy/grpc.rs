//! gRPC goes through as it is: all four kinds, over filters and without, down to the trailers.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::support::{
    Answer, Body, Client, Feed, Origin, Protocol, Proxy, ROUTE, channel, empty, filter, post, soon, upstream,
};

/// A length-prefixed message.
fn message(content: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(content.len() as u32);
    bytes.put(content.as_bytes());
    bytes.freeze()
}

/// Messages out of a stream whose pieces may be cut anywhere.
struct Messages {
    body: Incoming,
    read: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Messages {
    fn of(body: Incoming) -> Self {
        Self { body, read: BytesMut::new(), trailers: None }
    }

    /// The next message; none at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let length = self.read.get(1..5).map(|length| u32::from_be_bytes(length.try_into().unwrap()) as usize);
            if let Some(length) = length.filter(|length| self.read.len() >= 5 + length) {
                let message = self.read.split_to(5 + length);
                return Some(String::from_utf8(message[5..].to_vec()).unwrap());
            }
            match soon("a frame", self.body.frame()).await?.unwrap().into_data() {
                Ok(data) => self.read.extend(data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }
}

fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))])
}

/// Answers each message by one; `/many` by three; says OK at the end of the client's stream.
async fn serve(path: String, mut messages: Messages, feed: Feed) {
    let times = if path.ends_with("/many") { 3 } else { 1 };
    while let Some(content) = messages.next().await {
        for _ in 0..times {
            if !feed.send(message(&format!("re: {content}"))).await {
                return;
            }
        }
    }
    feed.trailers(trailers("0")).await;
}

async fn service() -> Origin {
    Origin::http(Protocol::Http2, |request: Request<Incoming>| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let path = request.uri().path().to_owned();
        if path.ends_with("/unknown") {
            let mut response = Response::new(empty());
            response.headers_mut().extend(trailers("12"));
            return response;
        }
        let (feed, body) = channel();
        tokio::spawn(serve(path, Messages::of(request.into_body()), feed));
        Response::new(body)
    })
    .await
}

/// A call of `method`, its messages in `body`.
fn call(method: &str, body: Body) -> Request<Body> {
    let mut request = post(&format!("/test.Service/{method}"), body);
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request
}

/// A proxy without filters, and one with five.
fn proxies(origin: &Origin) -> [Proxy; 2] {
    let names = ["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\""].join(", ");
    let actions = [
        ("a", "{ run = \"a\" }"),
        ("b", "{ replay = 3 }"),
        ("c", "{ pass = \"c\" }"),
        ("d", "{ sleep = 1 }"),
        ("e", "\"generation\""),
    ];
    let filters: String = actions.iter().map(|(name, action)| filter(name, action)).collect();
    let upstream = upstream("origin", Protocol::Http2, &[origin.address]);
    let filtered = Proxy::start(&format!("{ROUTE}filters = [{names}]\n{filters}{upstream}"));
    [Proxy::before(origin, Protocol::Http2), filtered]
}

#[tokio::test]
async fn unary_and_server_streaming_calls_go_through() {
    let service = service().await;
    for proxy in proxies(&service) {
        let client = Client::to(&proxy, Protocol::Http2).await;
        for (method, count) in [("one", 1), ("many", 3)] {
            let (feed, body) = channel();
            assert!(feed.send(message("hello")).await);
            drop(feed);
            let mut answers = Messages::of(client.send(call(method, body)).await.into_body());
            for _ in 0..count {
                assert_eq!(answers.next().await.unwrap(), "re: hello");
            }
            assert_eq!(answers.next().await, None);
            assert_eq!(answers.trailers.unwrap()["grpc-status"], "0");
        }
    }
}

#[tokio::test]
async fn client_and_bidirectional_streaming_calls_go_through() {
    let service = service().await;
    for proxy in proxies(&service) {
        let client = Client::to(&proxy, Protocol::Http2).await;
        let (feed, body) = channel();
        assert!(feed.send(message("0")).await);
        let mut answers = Messages::of(client.send(call("talk", body)).await.into_body());
        for round in 0..50 {
            assert_eq!(answers.next().await.unwrap(), format!("re: {round}"));
            assert!(feed.send(message(&(round + 1).to_string())).await);
        }
        drop(feed);
        assert_eq!(answers.next().await.unwrap(), "re: 50");
        assert_eq!(answers.next().await, None);
        assert_eq!(answers.trailers.unwrap()["grpc-status"], "0");
    }
}

#[tokio::test]
async fn case_42_an_answer_of_trailers_only_stays_one() {
    let service = service().await;
    for proxy in proxies(&service) {
        let response = Client::to(&proxy, Protocol::Http2).await.send(call("unknown", empty())).await;
        assert!(hyper::body::Body::is_end_stream(response.body()));
        let answer = Answer::read(response).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "12"));
    }
}

#[tokio::test]
async fn case_42_a_client_that_cancels_cancels_at_the_service() {
    let (feeds, mut feed) = tokio::sync::mpsc::unbounded_channel();
    let service = Origin::http(Protocol::Http2, move |_| {
        let (feed, body) = channel();
        feeds.send(feed).unwrap();
        std::future::ready(Response::new(body))
    })
    .await;
    for proxy in proxies(&service) {
        let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let call = || Request::post("http://test.example/test.Service/talk").header("te", "trailers").body(()).unwrap();
        let (response, mut up) = client.send_request(call(), false).unwrap();
        assert_eq!(soon("a response", response).await.unwrap().status(), 200);
        let first = feed.recv().await.unwrap();
        assert!(first.send(message("first")).await);
        up.send_reset(h2::Reason::CANCEL);
        soon("the service learns of it", first.abandoned()).await;
        let (response, _) = client.send_request(call(), true).unwrap();
        assert_eq!(soon("a response", response).await.unwrap().status(), 200, "the connection serves on");
        feed.recv().await.unwrap();
    }
}
