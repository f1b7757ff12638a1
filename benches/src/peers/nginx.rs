//! nginx.
//!
//! It cannot speak HTTP/2 to origins other than by `grpc_pass`, and that only for clients of HTTP/2. Of the telemetry
//! it has ids and traces; it cannot count requests by method and status, and keeps no histogram of durations: both
//! would be read off an access log by another program. Its Lua is a module of its own and is left out.
//!
//! **Invariant:** no body touches a disk.

use std::process::Command;

use anyhow::Result;
use rustix::process::geteuid;

use super::{CONNECTIONS, Filters, Identity, Peer, Protocol, Setup, install};

pub(super) fn present() -> Option<Peer> {
    let program = install::found("nginx", "apt-get install nginx")?;
    Some(Peer { name: "nginx", program, version: "-v", module: None, can, command })
}

fn can(setup: &Setup) -> bool {
    let forwards = setup.up == Protocol::Http1 || setup.down == Protocol::Http2;
    forwards && matches!(setup.filters, Filters::None | Filters::Directives)
}

fn command(peer: &Peer, setup: &Setup) -> Result<Command> {
    let file = setup.write("nginx.conf", &configuration(setup))?;
    let mut command = Command::new(&peer.program);
    command.arg("-e").arg(setup.file("error.log")).arg("-c").arg(file);
    Ok(command)
}

/// Bodies are passed on as they come, as the others do it: `proxy_request_buffering` would write a whole request to a
/// file first, and a response that the client takes slowly goes to one without `proxy_max_temp_file_size 0`. With
/// the buffers of its defaults, 4 KiB and 16 KiB, it takes twice the time for a body of 1 MiB.
fn configuration(setup: &Setup) -> String {
    let Setup { listen, origin, workers, .. } = setup;
    let folder = setup.folder.display();
    // The folder may be closed to the user that workers run as otherwise.
    let user = if geteuid().is_root() { "user root;" } else { "" };
    let listens = listens(setup);
    let tls = setup.tls.as_ref().map(tls).unwrap_or_default();
    let filters = setup.filters == Filters::Directives;
    let (maps, in_server, in_location) =
        if filters { (MAPS, CHECK, directives(setup)) } else { ("", "", String::new()) };
    let (pass, to_origin) = forwarding(setup);
    format!(
        "daemon off;
{user}
worker_processes {workers};
pcre_jit on;
pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections {CONNECTIONS}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_time 24h;
  keepalive_timeout 1h;
  client_max_body_size 0;
  {maps}
  upstream origin {{ server {origin}; keepalive 256; keepalive_requests 1000000000; keepalive_time 24h; }}
  server {{
    listen {listen} {listens} reuseport backlog=4096;
    {tls}
    {in_server}
    location / {{
      {to_origin}
      {pass}_set_header Host $http_host;
      {pass}_set_header X-Forwarded-For $remote_addr;
      {pass}_set_header X-Forwarded-Proto $scheme;
      {pass}_set_header X-Forwarded-Host $http_host;
      {in_location}
    }}
  }}
}}
"
    )
}

fn listens(setup: &Setup) -> &'static str {
    match (&setup.tls, setup.down) {
        (Some(_), _) => "ssl http2",
        (None, Protocol::Http2) => "http2",
        (None, Protocol::Http1) => "",
    }
}

fn tls(identity: &Identity) -> String {
    format!(
        "ssl_certificate {};
    ssl_certificate_key {};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:16m;
    ssl_session_timeout 1d;
    ssl_session_tickets on;",
        identity.certificate.display(),
        identity.private_key.display()
    )
}

/// The prefix of the directives, and those without a counterpart in the other protocol.
fn forwarding(setup: &Setup) -> (&'static str, &'static str) {
    match setup.up {
        Protocol::Http1 => (
            "proxy",
            "proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      client_body_buffer_size 128k;
      proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k;",
        ),
        Protocol::Http2 => ("grpc", "grpc_pass grpc://origin;"),
    }
}

/// Of one random number per request, the trace id is the whole and the span id a half.
const MAPS: &str = r#"map $http_x_api_key $refused { "open-sesame" 0; default 1; }
  map $request_id $span { "~^(?<half>.{16})" $half; }
  map $http_traceparent $trace {
    "~^00-(?<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-(?<flags>[0-9a-f]{2})$" 00-$trace_id-$span-$flags;
    default 00-$request_id-$span-01;
  }
  map $http_x_request_id $own_or_given { "" $request_id; default $http_x_request_id; }"#;

const CHECK: &str = "if ($refused) { return 403; }";

fn directives(setup: &Setup) -> String {
    let (pass, _) = forwarding(setup);
    format!(
        "rewrite ^/v1/ /api$uri break;
      {pass}_set_header x-zone eu-1;
      {pass}_set_header upgrade-insecure-requests \"\";
      {pass}_set_header traceparent $trace;
      {pass}_set_header x-request-id $own_or_given;
      add_header x-served-by nginx always;"
    )
}
