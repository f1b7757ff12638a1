//! The proxies that take part, and the configuration that makes them do the same work: one worker, kept-alive
//! connections on both sides without an end, `X-Forwarded-For` set, no access log.
//!
//! **Invariant:** no peer does less than meshup does by default.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    PROXY_CORE,
    process::{Running, free_address},
};

/// One proxy in one configuration.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: PathBuf,
    /// The configuration file of a proxy that listens on the first address and forwards to the second.
    configuration: fn(SocketAddr, SocketAddr, &Path) -> String,
    /// The arguments before the configuration file's path.
    arguments: &'static [&'static str],
}

impl Peer {
    /// Starts it with its files in `folder`.
    pub(crate) fn start(&self, origin: SocketAddr, folder: &Path) -> Result<Running> {
        let address = free_address()?;
        let file = folder.join("proxy.conf");
        fs::write(&file, (self.configuration)(address, origin, folder))?;
        let mut command = Command::new(&self.program);
        command.args(self.arguments).arg(file);
        Running::start_on(address, &command, PROXY_CORE)
    }
}

/// The peers on this machine; says how to get the others.
pub(crate) fn present(meshup: &Path) -> Vec<Peer> {
    let peers = [
        found("nginx", "apt-get install nginx").map(nginx),
        found("haproxy", "apt-get install haproxy").map(haproxy),
        built(meshup).map(meshup_without_filters),
        built(meshup).map(meshup_with_filters),
    ];
    peers.into_iter().flatten().collect()
}

fn found(program: &str, install: &str) -> Option<PathBuf> {
    // Servers live in sbin, which is not in everyone's PATH.
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let program_path = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    if program_path.is_none() {
        eprintln!("{program} is not here and is left out: {install}");
    }
    program_path
}

fn built(meshup: &Path) -> Option<PathBuf> {
    if !meshup.is_file() {
        eprintln!("{} is not built and is left out: cargo build --release --package meshup", meshup.display());
        return None;
    }
    Some(meshup.into())
}

fn nginx(program: PathBuf) -> Peer {
    Peer { name: "nginx", program, arguments: &["-c"], configuration: nginx_configuration }
}

fn nginx_configuration(listen: SocketAddr, origin: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream origin {{ server {origin}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
"
    )
}

fn haproxy(program: PathBuf) -> Peer {
    Peer { name: "haproxy", program, arguments: &["-q", "-f"], configuration: haproxy_configuration }
}

fn haproxy_configuration(listen: SocketAddr, origin: SocketAddr, _folder: &Path) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 1s
  http-reuse always
frontend front
  bind {listen}
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  default_backend origin
backend origin
  server origin {origin} pool-max-conn 256
"
    )
}

fn meshup_without_filters(program: PathBuf) -> Peer {
    Peer {
        name: "meshup, no filters",
        program,
        arguments: &["run", "--config"],
        configuration: |listen, origin, _| meshup_configuration(listen, origin, "", &[]),
    }
}

/// A header filter: two changes to the request, one to the response, so that it sees both ways.
const HEADER_FILTER: &str = "module = \"builtin:rewrite\"
config.request_headers = { set = { x-zone = \"eu-1\" }, remove = [\"upgrade-insecure-requests\"] }
config.response_headers = { set = { x-served-by = \"meshup\" } }";

fn meshup_with_filters(program: PathBuf) -> Peer {
    Peer {
        name: "meshup, 3 header filters",
        program,
        arguments: &["run", "--config"],
        configuration: |listen, origin, _| {
            let chain = ["one", "two", "three"];
            let filters = chain.map(|name| format!("[filters.{name}]\n{HEADER_FILTER}\n")).concat();
            meshup_configuration(listen, origin, &filters, &chain)
        },
    }
}

fn meshup_configuration(listen: SocketAddr, origin: SocketAddr, filters: &str, chain: &[&str]) -> String {
    format!(
        "workers = 1
[admin]
listen = \"127.0.0.1:0\"
[[listeners]]
name = \"http\"
listen = \"{listen}\"
{filters}
[[routes]]
name = \"all\"
match = {{ path_prefix = \"/\" }}
filters = {chain:?}
upstream = \"origin\"
[upstreams.origin]
endpoints = [\"{origin}\"]
"
    )
}
