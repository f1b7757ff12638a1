//! The head of a request as it is written, and the head of a response as it is read (RFC 9112).
//!
//! **Invariant:** where a response ends is decided here, once, from its head and the request's method (section 6.3); a head
//! of which two readers might think differently is none.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use hyper::ext::ReasonPhrase;

use super::{decoder::Decoder, upload::Framing};

/// The longest response head.
pub(super) const MAX: usize = 32 * 1024;
/// The most fields of a head, or of trailers.
pub(super) const MAX_FIELDS: usize = 100;

/// What a peer sent is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's response is malformed")]
pub(crate) struct Malformed;

/// Writes a request's head.
pub(super) fn write<B>(request: &Request<B>, lines: &mut Vec<u8>) {
    let headers = request.headers();
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    let uri = request.uri();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    lines.reserve(request.method().as_str().len() + target.len() + fields + "  HTTP/1.1\r\n\r\n".len());
    for part in [request.method().as_str(), " ", target, " HTTP/1.1\r\n"] {
        lines.extend_from_slice(part.as_bytes());
    }
    write_fields(headers, lines);
    lines.extend_from_slice(b"\r\n");
}

/// Writes fields, without the empty line behind them.
pub(super) fn write_fields(fields: &HeaderMap, lines: &mut Vec<u8>) {
    for (name, value) in fields {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
}

/// Says in a request's head where its body ends.
pub(super) fn frame<B: http_body::Body>(request: &mut Request<B>) -> Framing {
    let (is_empty, exact) = (request.body().is_end_stream(), request.body().size_hint().exact());
    let headers = request.headers_mut();
    match exact {
        _ if is_empty => {
            headers.remove(TRANSFER_ENCODING);
            Framing::Length(0)
        }
        Some(length) => {
            headers.remove(TRANSFER_ENCODING);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            Framing::Length(length)
        }
        None => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Framing::Chunked
        }
    }
}

/// What the beginning of a byte stream is.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Not a whole head yet.
    Partial,
    /// An interim response, other than one that switches protocols.
    Interim(StatusCode),
    Final(Head),
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub response: Response<()>,
    pub body: Decoder,
    /// The connection may carry another exchange afterwards.
    pub keep_alive: bool,
}

/// Takes a response's head off what was read. Its fields get the room of the request's, which is over with the answer.
///
/// # Errors
/// It is no response, or one whose end cannot be told.
pub(super) fn read(read: &mut Bytes, answers_head: bool, request: &mut HeaderMap) -> Result<Parsed, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let status = parser.parse_response_with_uninit_headers(&mut parsed, read, &mut fields).map_err(|_| Malformed)?;
    let len = match status {
        httparse::Status::Complete(len) if len <= MAX => len,
        httparse::Status::Partial if read.len() <= MAX => return Ok(Parsed::Partial),
        _ => return Err(Malformed),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        *read = read.slice(len..);
        return Ok(Parsed::Interim(status));
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    let is_http11 = parsed.version == Some(1);
    *response.version_mut() = if is_http11 { Version::HTTP_11 } else { Version::HTTP_10 };
    if let Some(reason) = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason()) {
        let reason = ReasonPhrase::try_from(reason.as_bytes()).map_err(|_| Malformed)?;
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    *headers = std::mem::take(request);
    headers.clear();
    headers.reserve(parsed.headers.len());
    let (mut framing, mut keep_alive, mut close) = (None, is_http11, false);
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(read.slice_ref(field.value)).map_err(|_| Malformed)?;
        if name == CONNECTION {
            close |= lists(&value, "close");
            keep_alive |= lists(&value, "keep-alive");
        } else if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            let said = if name == CONTENT_LENGTH { length(&value)? } else { coding(&value, is_http11)? };
            if framing.replace(said).is_some() {
                return Err(Malformed);
            }
        }
        headers.append(name, value);
    }
    let has_body = !answers_head && !matches!(status.as_u16(), 101 | 204 | 304);
    let body = if has_body { framing.unwrap_or(Decoder::UntilClose) } else { Decoder::Length(0) };
    *read = read.slice(len..);
    let keep_alive = keep_alive && !close && status != StatusCode::SWITCHING_PROTOCOLS;
    Ok(Parsed::Final(Head { response, body, keep_alive }))
}

fn length(value: &HeaderValue) -> Result<Decoder, Malformed> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).map(Decoder::Length).ok_or(Malformed)
}

/// Chunks are the only coding that a proxy can tell the end of; HTTP/1.0 has none.
fn coding(value: &HeaderValue, is_http11: bool) -> Result<Decoder, Malformed> {
    if is_http11 && value.as_bytes().eq_ignore_ascii_case(b"chunked") { Ok(Decoder::chunked()) } else { Err(Malformed) }
}

fn lists(value: &HeaderValue, option: &str) -> bool {
    value.to_str().is_ok_and(|text| text.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(option)))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};

    use super::*;

    fn parse(text: &str, answers_head: bool) -> Result<(Parsed, String), Malformed> {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        let parsed = read(&mut bytes, answers_head, &mut HeaderMap::new())?;
        Ok((parsed, String::from_utf8(bytes.to_vec()).unwrap()))
    }

    fn head(text: &str) -> Head {
        match parse(text, false) {
            Ok((Parsed::Final(head), _)) => head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_head_is_taken_off_and_the_rest_left() {
        let text = "HTTP/1.1 299 Odd\r\nContent-Length: 5\r\nX-A: 1\r\nx-a:  2 \r\n\r\nhello";
        let (parsed, rest) = parse(text, false).unwrap();
        let Parsed::Final(Head { response, body, keep_alive }) = parsed else { panic!("{parsed:?}") };
        assert_eq!((response.status().as_u16(), response.version(), &*rest), (299, Version::HTTP_11, "hello"));
        assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(response.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"Odd");
        assert!(matches!(body, Decoder::Length(5)) && keep_alive);
        for len in 0..text.len() - "hello".len() {
            let parsed = parse(&text[..len], false);
            assert!(matches!(&parsed, Ok((Parsed::Partial, rest)) if rest.len() == len), "{len}: {parsed:?}");
        }
    }

    #[test]
    fn interim_responses_are_told_apart() {
        let (parsed, rest) = parse("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n", false).unwrap();
        assert!(matches!(parsed, Parsed::Interim(StatusCode::EARLY_HINTS)), "{parsed:?}");
        assert_eq!(rest, "HTTP/1.1 200 OK\r\n");
        assert!(matches!(head("HTTP/1.1 101 Switching Protocols\r\n\r\n").body, Decoder::Length(0)));
    }

    #[test]
    fn where_a_body_ends() {
        assert!(matches!(head("HTTP/1.1 200 OK\r\n\r\n").body, Decoder::UntilClose));
        assert!(matches!(head("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n").body, Decoder::Chunked(_)));
        for status in [204, 304] {
            let head = head(&format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n"));
            assert!(matches!(head.body, Decoder::Length(0)), "{status}");
        }
        let (parsed, _) = parse("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true).unwrap();
        assert!(matches!(parsed, Parsed::Final(Head { body: Decoder::Length(0), .. })), "{parsed:?}");
    }

    #[test]
    fn ambiguous_framing_is_none() {
        for fields in [
            "content-length: 5\r\ncontent-length: 5",
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 5",
            "content-length: +5",
            "content-length: -5",
            "content-length:",
            "content-length: 5\u{b2}",
            "content-length: 18446744073709551616",
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: gzip",
            "transfer-encoding: identity",
            "transfer-encoding: chunked, identity",
        ] {
            assert!(parse(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), false).is_err(), "{fields}");
        }
        assert!(parse("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", false).is_err());
    }

    #[test]
    fn what_is_no_response() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
            &many,
            &format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(MAX)),
            &format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX)),
        ] {
            assert!(parse(text, false).is_err(), "{text:.40?}");
        }
    }

    #[test]
    fn which_connections_stay_open() {
        for (version, fields, expected) in [
            ("1.1", "", true),
            ("1.0", "", false),
            ("1.0", "connection: Keep-Alive\r\n", true),
            ("1.1", "connection: upgrade, Close\r\n", false),
            ("1.1", "connection: close\r\nconnection: keep-alive\r\n", false),
        ] {
            let text = format!("HTTP/{version} 200 OK\r\n{fields}\r\n");
            assert_eq!(head(&text).keep_alive, expected, "{text:?}");
        }
        assert!(!head("HTTP/1.1 101 Switching Protocols\r\n\r\n").keep_alive);
    }

    fn written(body: BoxBody<Bytes, std::convert::Infallible>, fields: &[(&str, &str)]) -> (String, Framing) {
        let request = Request::builder().method("POST").uri("/a?b").header("host", "c");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut request = request.body(body).unwrap();
        let framing = frame(&mut request);
        let mut lines = Vec::new();
        write(&request, &mut lines);
        (String::from_utf8(lines).unwrap(), framing)
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let full = || Full::new(Bytes::from_static(b"hello")).boxed();
        let unknown = || full().map_frame(|frame| frame).boxed();
        let is = |fields: &str| format!("POST /a?b HTTP/1.1\r\nhost: c\r\n{fields}\r\n");
        assert_eq!(written(Empty::new().boxed(), &[]), (is(""), Framing::Length(0)));
        assert_eq!(
            written(Empty::new().boxed(), &[("content-length", "0")]),
            (is("content-length: 0\r\n"), Framing::Length(0))
        );
        assert_eq!(
            written(full(), &[("content-length", "9")]),
            (is("content-length: 5\r\n"), Framing::Length(5)),
            "what is sent counts"
        );
        assert_eq!(
            written(unknown(), &[("content-length", "9")]),
            (is("transfer-encoding: chunked\r\n"), Framing::Chunked)
        );
    }
}
