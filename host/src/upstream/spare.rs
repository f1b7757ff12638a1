//! A request kept in case its connection proves stale: flat, because it is made for most requests and read for hardly
//! any.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use meshup_abi::{Fields, Writer, tag};

use crate::body::RequestBody;

/// Room for the headers of most requests.
const CAPACITY: usize = 1024;

/// A request without a body that may be sent twice.
#[derive(Debug)]
pub(super) struct Spare {
    method: Method,
    uri: Uri,
    fields: Vec<u8>,
}

impl Spare {
    /// Keeps a request, if sending it again does no harm: it has no body and its method is idempotent (RFC 9110 section
    /// 9.2.2).
    pub(super) fn of(request: &Request<RequestBody>) -> Option<Self> {
        let idempotent = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        );
        if !idempotent || !matches!(request.body(), RequestBody::Empty) {
            return None;
        }
        let mut fields = Vec::with_capacity(CAPACITY);
        let mut writer = Writer::new(&mut fields);
        for (name, value) in request.headers() {
            writer.pair(tag::HEADER, name.as_str().as_bytes(), value.as_bytes()).ok()?;
        }
        Some(Self { method: request.method().clone(), uri: request.uri().clone(), fields })
    }

    /// The request again.
    pub(super) fn request(self) -> Option<Request<RequestBody>> {
        let mut headers = HeaderMap::new();
        for field in Fields::new(&self.fields) {
            let (name, value) = field.ok()?.pair().ok()?;
            headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = headers;
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, body: RequestBody) -> Request<RequestBody> {
        let request = Request::builder().method(method).uri("/a?b").header("x-one", "1").header("x-one", "2");
        request.header("accept", "*/*").body(body).expect("a valid request")
    }

    #[test]
    fn what_is_kept_is_what_was_sent() {
        let sent = request("GET", RequestBody::Empty);
        let again = Spare::of(&sent).and_then(Spare::request).expect("a GET may be sent again");
        assert_eq!(again.method(), sent.method());
        assert_eq!(again.uri(), sent.uri());
        assert_eq!(again.headers(), sent.headers());
    }

    #[test]
    fn what_might_do_harm_is_not_kept() {
        assert!(Spare::of(&request("POST", RequestBody::Empty)).is_none());
        assert!(Spare::of(&request("PUT", RequestBody::Full("x".into()))).is_none());
    }
}
