//! What a request has to become, and what has to come back.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version, header::HeaderName};
use http_body_util::{Collected, Full};
use meshup_benches::peers::{Filters, Protocol, Setup};

use crate::{
    client::{Client, Connection},
    origin::{GREETING, Origin, Seen},
};

const AUTHORITY: &str = "shop.example";
const TARGET: &str = "/v1/orders?limit=20";
const REWRITTEN: &str = "/api/v1/orders?limit=20";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const MIB: usize = 1 << 20;
/// A proxy may have a second connection in reserve.
const KEPT_CONNECTIONS: usize = 2;

pub(crate) async fn expect_everything(name: &str, setup: &Setup, client: &Client, origin: &Origin) -> Result<()> {
    let mut connection = client.connect().await?;
    expect_forwarded(name, setup, &mut connection, origin).await.context("forwarding")?;
    match setup.filters {
        Filters::Directives | Filters::Lua | Filters::Wasm => expect_filters(setup, &mut connection, origin).await?,
        Filters::None | Filters::Headers(_) | Filters::Pass(_) => {}
    }
    if setup.up == Protocol::Http2 && setup.down == Protocol::Http2 {
        expect_trailers(setup, &mut connection).await.context("trailers")?;
    }
    expect_large_bodies(setup, &mut connection).await.context("bodies")?;
    expect_kept_connections(setup, &mut connection, origin).await?;
    if setup.tls.is_some() {
        ensure!(client.connect().await?.resumed, "the TLS session was not resumed");
    }
    Ok(())
}

async fn expect_forwarded(name: &str, setup: &Setup, connection: &mut Connection, origin: &Origin) -> Result<()> {
    let response = connection.send(request(setup, &[])).await?;
    ensure!(response.status() == 200, "{}", response.status());
    let served_by = text(response.headers(), "x-served-by").map(str::to_owned);
    ensure!(response.into_body().to_bytes() == GREETING, "another body");
    let seen = origin.take_last()?;
    expect_proxied(setup, &seen)?;
    let rewritten = matches!(setup.filters, Filters::Directives | Filters::Lua | Filters::Wasm);
    let header_filters = matches!(setup.filters, Filters::Headers(_));
    let target = if rewritten { REWRITTEN } else { TARGET };
    ensure!(seen.target == target, "the origin saw {}", seen.target);
    let changed = rewritten || header_filters;
    ensure!(served_by.as_deref() == changed.then_some(name), "x-served-by: {served_by:?}");
    ensure!(text(&seen.headers, "x-zone") == changed.then_some("eu-1"), "x-zone: {:?}", seen.headers);
    ensure!(text(&seen.headers, "x-browser") == header_filters.then_some("yes"), "x-browser: {:?}", seen.headers);
    ensure!(seen.headers.contains_key("upgrade-insecure-requests") != rewritten, "{:?}", seen.headers);
    ensure!(seen.headers.contains_key("traceparent") == rewritten, "{:?}", seen.headers);
    ensure!(seen.headers.contains_key("x-request-id") == rewritten, "{:?}", seen.headers);
    Ok(())
}

fn expect_proxied(setup: &Setup, seen: &Seen) -> Result<()> {
    let version = match setup.up {
        Protocol::Http1 => Version::HTTP_11,
        Protocol::Http2 => Version::HTTP_2,
    };
    ensure!(seen.version == version, "the origin saw {:?}", seen.version);
    let scheme = if setup.tls.is_some() { "https" } else { "http" };
    // Envoy gives its machine's own address for that of a client on loopback.
    let address = text(&seen.headers, "x-forwarded-for").and_then(|value| value.parse::<IpAddr>().ok());
    ensure!(address.is_some(), "x-forwarded-for: {:?}", seen.headers);
    for (name, value) in [("x-forwarded-proto", scheme), ("x-forwarded-host", AUTHORITY)] {
        ensure!(text(&seen.headers, name) == Some(value), "{name}: {:?}", seen.headers);
    }
    Ok(())
}

async fn expect_filters(setup: &Setup, connection: &mut Connection, origin: &Origin) -> Result<()> {
    connection.send(request(setup, &[])).await?;
    let (trace, _) = trace_and_span(&origin.take_last()?)?;
    connection.send(request(setup, &[])).await?;
    ensure!(trace_and_span(&origin.take_last()?)?.0 != trace, "two traces have one id");

    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let given = [("traceparent", traceparent.as_str()), ("x-request-id", "given")];
    connection.send(request(setup, &given)).await?;
    let seen = origin.take_last()?;
    let (trace, span) = trace_and_span(&seen)?;
    ensure!(trace == TRACE && span != SPAN, "the trace was not continued: {trace}, {span}");
    ensure!(text(&seen.headers, "x-request-id") == Some("given"), "the request id was replaced");

    for key in [None, Some("wrong")] {
        let mut refused = request(setup, &[]);
        refused.headers_mut().remove("x-api-key");
        refused.headers_mut().extend(key.map(|key| (HeaderName::from_static("x-api-key"), key.parse().unwrap())));
        let response = connection.send(refused).await?;
        ensure!(response.status() == 403, "{} with the key {key:?}", response.status());
        ensure!(origin.take_last().is_err(), "the origin saw a request with the key {key:?}");
    }
    Ok(())
}

fn trace_and_span(seen: &Seen) -> Result<(String, String)> {
    let value = text(&seen.headers, "traceparent").context("no traceparent")?;
    let fields: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = fields.iter().map(|field| field.len()).collect();
    let hex = fields.concat().bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    ensure!(hex && lengths == [2, 32, 16, 2], "traceparent: {value}");
    Ok((fields[1].into(), fields[2].into()))
}

async fn expect_trailers(setup: &Setup, connection: &mut Connection) -> Result<()> {
    let message = Bytes::from_static(b"\0\0\0\0\x01x");
    let mut call = request(setup, &[("content-type", "application/grpc"), ("te", "trailers")]).map(|_| message.into());
    *call.method_mut() = http::Method::POST;
    let response = connection.send(call).await?;
    let trailers = response.body().trailers().context("none")?;
    ensure!(text(trailers, "grpc-status") == Some("0"), "{trailers:?}");
    Ok(())
}

async fn expect_large_bodies(setup: &Setup, connection: &mut Connection) -> Result<()> {
    let body = Bytes::from(vec![b'x'; MIB]);
    let mut upload = request(setup, &[]).map(|_| Full::new(body.clone()));
    *upload.method_mut() = http::Method::POST;
    let response = connection.send(upload).await?;
    ensure!(response.status() == 200, "{}", response.status());
    ensure!(response.into_body().to_bytes() == body, "it came back as another one");
    Ok(())
}

async fn expect_kept_connections(setup: &Setup, connection: &mut Connection, origin: &Origin) -> Result<()> {
    for _ in 0..50 {
        let response: Response<Collected<Bytes>> = connection.send(request(setup, &[])).await?;
        ensure!(response.status() == 200, "{}", response.status());
    }
    let connections = origin.connections();
    ensure!(connections <= KEPT_CONNECTIONS, "{connections} connections to the origin");
    Ok(())
}

/// The request of a browser that has the key.
fn request(setup: &Setup, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let scheme = if setup.tls.is_some() { "https" } else { "http" };
    let mut request = match setup.down {
        Protocol::Http1 => Request::get(TARGET).header("host", AUTHORITY),
        Protocol::Http2 => Request::get(format!("{scheme}://{AUTHORITY}{TARGET}")),
    };
    let browser = [
        ("user-agent", "Mozilla/5.0"),
        ("accept-language", "en"),
        ("cookie", "session=1"),
        ("upgrade-insecure-requests", "1"),
        ("x-api-key", "open-sesame"),
    ];
    for (name, value) in browser.iter().chain(headers) {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
