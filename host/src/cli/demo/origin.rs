//! The service behind the demonstration's proxy: it answers a request with that request, fails or is slow when asked.
//!
//! **Invariant:** it listens on loopback only and remembers a bounded number of things.

use std::{
    collections::HashMap,
    fmt::Write,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, COOKIE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// `/flaky` fails that often before it answers.
const FAILURES: u32 = 2;
/// So many queries of `/flaky` are told apart.
const MAX_REMEMBERED: usize = 1000;
const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_SLOW: Duration = Duration::from_secs(60);
/// The pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Starts the service on a thread of its own, for as long as the process lives.
///
/// # Errors
/// When the system gives no port or no thread.
pub(super) fn start() -> io::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = StdListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = {
        let _context = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let thread = std::thread::Builder::new().name("meshup-demo-origin".into());
    thread.spawn(move || runtime.block_on(accept(listener)))?;
    Ok(address)
}

async fn accept(listener: TcpListener) {
    let flaky = Arc::new(Flaky::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, flaky.clone()))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, flaky: Arc<Flaky>) {
    let service = service_fn(|request| {
        let flaky = flaky.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&flaky, request).await) }
    });
    // A client that goes away is nothing to report.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(flaky: &Flaky, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if let Some(status) = path.strip_prefix("/status/") {
        return fixed_status(status);
    }
    match path {
        "/flaky" if flaky.fails(query) => return text(StatusCode::SERVICE_UNAVAILABLE, "this time it fails\n".into()),
        "/authz" => return authorization(request.headers()),
        "/slow" => tokio::time::sleep(slowness(query)).await,
        _ => {}
    }
    echo(request).await
}

fn fixed_status(status: &str) -> Response<Full<Bytes>> {
    match status.parse::<u16>() {
        Ok(status @ 200..=599) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            text(status, format!("as asked for: {status}\n"))
        }
        _ => text(StatusCode::BAD_REQUEST, "a status is a number from 200 to 599\n".into()),
    }
}

/// The answer to the filter `ext-authz`: those with the cookie pass, and their team is told.
fn authorization(headers: &HeaderMap) -> Response<Full<Bytes>> {
    let has_cookie = headers.get_all(COOKIE).iter().any(|cookie| cookie == "team=tea");
    if !has_cookie {
        return text(StatusCode::FORBIDDEN, "only with the cookie team=tea\n".into());
    }
    let mut response = text(StatusCode::OK, String::new());
    response.headers_mut().insert("x-team", HeaderValue::from_static("tea"));
    response
}

fn slowness(query: &str) -> Duration {
    let millis = query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok());
    Duration::from_millis(millis.unwrap_or(1000)).min(MAX_SLOW)
}

/// The request as text: request line, headers, body.
async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut echo = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        // Writing to a String does not fail.
        let _ = writeln!(echo, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) if body.trailers().is_none() => {
            let body = body.to_bytes();
            if !body.is_empty() {
                echo.push('\n');
                echo.push_str(&String::from_utf8_lossy(&body));
            }
            text(StatusCode::OK, echo)
        }
        Ok(_) => text(StatusCode::OK, echo),
        Err(_) => text(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {MAX_BODY_BYTES} bytes\n")),
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// How often each query of `/flaky` failed since it was last answered.
#[derive(Debug, Default)]
struct Flaky(Mutex<HashMap<String, u32>>);

impl Flaky {
    /// Whether this request fails: two in a row do, then one is answered.
    fn fails(&self, query: &str) -> bool {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_REMEMBERED && !failures.contains_key(query) {
            failures.clear();
        }
        let failed = failures.entry(query.to_owned()).or_default();
        if *failed < FAILURES {
            *failed += 1;
            return true;
        }
        failures.remove(query);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaky_fails_twice_for_each_query() {
        let flaky = Flaky::default();
        assert_eq!([(); 4].map(|()| flaky.fails("a")), [true, true, false, true]);
        assert!(flaky.fails("b"));
    }

    #[test]
    fn slowness_has_a_default_and_a_limit() {
        for (query, millis) in [("ms=5", 5), ("a=1&ms=7", 7), ("", 1000), ("ms=x", 1000), ("ms=999999", 60_000)] {
            assert_eq!(slowness(query).as_millis(), millis, "{query}");
        }
    }

    #[test]
    fn only_a_status_with_a_body_is_answered() {
        for (path, status) in [("418", 418), ("200", 200), ("101", 400), ("600", 400), ("x", 400)] {
            assert_eq!(fixed_status(path).status(), status, "{path}");
        }
    }
}
