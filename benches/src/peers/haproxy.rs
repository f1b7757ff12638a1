//! HAProxy.
//!
//! It can do every setup but Wasm. By directives it keeps no histogram of durations (only means), and requests that it
//! refuses are counted apart from the others, in its statistics. By Lua it counts what meshup's telemetry counts, up to
//! the response's head: nothing of Lua runs when the body ends. Its buffers are those of its defaults: with four times
//! as much (`tune.bufsize 65536`) a body of 1 MiB costs about half, and a small request about a tenth more.
//!
//! **Invariant:** no Lua state is shared by threads; they would wait for each other.

use std::{fs, process::Command};

use anyhow::Result;

use super::{CONNECTIONS, Filters, Identity, Peer, Protocol, Setup, install};

pub(super) fn present() -> Option<Peer> {
    let program = install::found("haproxy", "apt-get install haproxy")?;
    Some(Peer { name: "haproxy", program, version: "-v", module: None, can, command })
}

fn can(setup: &Setup) -> bool {
    matches!(setup.filters, Filters::None | Filters::Directives | Filters::Lua)
}

fn command(peer: &Peer, setup: &Setup) -> Result<Command> {
    if setup.filters == Filters::Lua {
        setup.write("filters.lua", include_str!("haproxy/filters.lua"))?;
    }
    let tls = setup.tls.as_ref().map(|identity| tls(setup, identity)).transpose()?;
    let file = setup.write("haproxy.cfg", &configuration(setup, &tls.unwrap_or_default()))?;
    let mut command = Command::new(&peer.program);
    command.args(["-q", "-f"]).arg(file);
    Ok(command)
}

/// It takes certificate and key from one file.
fn tls(setup: &Setup, identity: &Identity) -> Result<String> {
    let both = [fs::read_to_string(&identity.certificate)?, fs::read_to_string(&identity.private_key)?].join("\n");
    let file = setup.write("identity.pem", &both)?;
    Ok(format!("ssl crt {} alpn h2,http/1.1", file.display()))
}

fn configuration(setup: &Setup, tls: &str) -> String {
    let Setup { listen, origin, workers, .. } = setup;
    let h2c = if setup.down == Protocol::Http2 && setup.tls.is_none() { "proto h2" } else { "" };
    let up = if setup.up == Protocol::Http2 { "proto h2" } else { "" };
    let load = if setup.filters == Filters::Lua { lua_load(setup) } else { String::new() };
    let (filters, tables) = match setup.filters {
        Filters::Directives => (DIRECTIVES, TABLES),
        Filters::Lua => (LUA, ""),
        _ => ("", ""),
    };
    let scheme = setup.scheme();
    format!(
        "global
  nbthread {workers}
  maxconn {CONNECTIONS}
{load}
defaults
  mode http
  timeout client 1h
  timeout http-keep-alive 1h
  timeout server 60s
  timeout connect 1s
  http-reuse always
frontend front
  bind {listen} {h2c} {tls}
{filters}
  option forwardfor
  http-request set-header X-Forwarded-Proto {scheme}
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  default_backend origin
backend origin
  server origin {origin} pool-max-conn 256 {up}
{tables}
"
    )
}

fn lua_load(setup: &Setup) -> String {
    format!("  lua-load-per-thread {}", setup.file("filters.lua").display())
}

const DIRECTIVES: &str = r"  http-request set-var(txn.method) method
  http-request set-header traceparent 00-%[uuid,regsub(-,,g)]-%[uuid,regsub(-,,g),bytes(16,16)]-01 unless { req.hdr(traceparent) -m found }
  http-request replace-header traceparent ^(00-[0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$ \1-%[uuid,regsub(-,,g),bytes(16,16)]-\2 if { req.hdr(traceparent) -m found }
  http-request set-header x-request-id %[uuid] unless { req.hdr(x-request-id) -m found }
  http-request deny deny_status 403 unless { req.hdr(x-api-key) -m str open-sesame }
  http-request set-path /api%[path] if { path_beg /v1/ }
  http-request set-header x-zone eu-1
  http-request del-header upgrade-insecure-requests
  http-response set-var(txn.status) status
  http-response track-sc0 var(txn.method),concat(/,txn.status) table served
  http-response sc-inc-gpc0(0)
  http-response set-header x-served-by haproxy";

const TABLES: &str = "backend served
  stick-table type string len 24 size 1k store gpc0";

const LUA: &str = "  http-request lua.telemetry_request
  http-request lua.check
  http-request lua.rewrite_request
  http-response lua.rewrite_response
  http-response lua.telemetry_response";
