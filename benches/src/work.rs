//! The requests: what a client asks for, the same of every proxy.
//!
//! **Invariant:** every request of one kind has the same bytes, so that figures of one kind can be compared.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header::HOST};
use http_body_util::Full;

use crate::peers::Protocol;

/// Bytes in the body of a small response.
pub const SMALL: usize = 1 << 10;
/// Bytes in a large body, of a request or a response.
pub const LARGE: usize = 1 << 20;
/// Where the origin answers with a large body.
pub const LARGE_PATH: &str = "/v1/large";
/// The host that clients ask for, and the name in certificates.
pub const NAME: &str = "shop.example";

/// Where most requests go.
pub const SMALL_PATH: &str = "/v1/orders?limit=20&sort=newest";
const GRPC_PATH: &str = "/shop.Orders/List";
/// A gRPC message: not compressed, its length, and 64 bytes.
const GRPC_MESSAGE: [u8; 69] = {
    let mut message = [b'x'; 69];
    message[0] = 0;
    message[1] = 0;
    message[2] = 0;
    message[3] = 0;
    message[4] = 64;
    message
};

/// With `host`, the header fields of a browser's request, and the key that the filters check.
pub const HEADERS: [(&str, &str); 12] = [
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example/catalogue?page=2"),
    ("cookie", "session=5f2b8c1e9d7a4f6083b1c2d3e4f50617; theme=dark; consent=all"),
    ("upgrade-insecure-requests", "1"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("priority", "u=0, i"),
    ("x-api-key", "open-sesame"),
];

const GRPC_HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "grpc-go/1.77.0"),
    ("x-api-key", "open-sesame"),
];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A GET with a browser's header fields; the response has 1 KiB.
    Get,
    /// The same; the response has 1 MiB.
    Download,
    /// A POST of 1 MiB; the response has 1 KiB.
    Upload,
    /// A unary call with 64 bytes both ways; HTTP/2 only.
    Grpc,
}

impl Work {
    fn path(self) -> &'static str {
        match self {
            Self::Get | Self::Upload => SMALL_PATH,
            Self::Download => LARGE_PATH,
            Self::Grpc => GRPC_PATH,
        }
    }

    fn body(self) -> Bytes {
        match self {
            Self::Get | Self::Download => Bytes::new(),
            Self::Upload => vec![b'x'; LARGE].into(),
            Self::Grpc => Bytes::from_static(&GRPC_MESSAGE),
        }
    }

    const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Get | Self::Download | Self::Upload => &HEADERS,
            Self::Grpc => &GRPC_HEADERS,
        }
    }

    /// Bytes in the response's body.
    pub const fn response_bytes(self) -> usize {
        match self {
            Self::Get | Self::Upload => SMALL,
            Self::Download => LARGE,
            Self::Grpc => GRPC_MESSAGE.len(),
        }
    }

    /// The request, with its body.
    ///
    /// # Panics
    ///
    /// Never: the parts are constants.
    pub fn request(self, protocol: Protocol, scheme: &str) -> Request<Full<Bytes>> {
        let body = self.body();
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        let uri = match protocol {
            Protocol::Http1 => self.path().to_owned(),
            Protocol::Http2 => format!("{scheme}://{NAME}{}", self.path()),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().expect("a valid target");
        if protocol == Protocol::Http1 {
            request.headers_mut().insert(HOST, HeaderValue::from_static(NAME));
        }
        for (name, value) in self.headers() {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        request
    }

    /// The request as it goes over an HTTP/1.1 connection, with so many header fields more than it has by itself.
    pub fn bytes(self, more: usize) -> Vec<u8> {
        let body = self.body();
        let method = if body.is_empty() { "GET" } else { "POST" };
        let mut request = format!("{method} {} HTTP/1.1\r\nhost: {NAME}\r\n", self.path());
        for (name, value) in self.headers() {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        for number in 0..more {
            request.push_str(&format!("x-more-{number}: a value of twenty-five\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(&body);
        request
    }
}
